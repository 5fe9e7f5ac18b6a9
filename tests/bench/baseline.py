"""What the agent is compared with, and what servers cost."""

import os
import time

from watch import PATIENCE

CONFIG = """\
daemon off;
master_process on;
worker_processes 1;
user root;
pid {dir}/pid;
error_log {dir}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    # what Debian's nginx.conf has
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    # one line for each request, written when there are 64 KiB, at the latest after a second
    access_log {dir}/access.log combined buffer=64k flush=1s;
    # connections last as long as the client wants, as the agent's do
    keepalive_requests 1000000000;
    keepalive_timeout 60s;
    server_tokens off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {{
        listen {address}:{port};
        root {dir}/root;
        default_type "application/json; charset=utf-8";
    }}
}}
"""


def threads(pid):
    return [int(task) for task in os.listdir(f"/proc/{pid}/task")]


def pin(pid, cpu):
    for task in threads(pid):
        os.sched_setaffinity(task, {cpu})


def cpu_seconds(pid):
    """That all threads of a process have run, to the nanosecond."""
    total = 0
    for task in threads(pid):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total / 1e9


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return list(map(int, f.read().split()))


class Nginx:
    """One worker, in a pod's network namespace, that serves `body` under `path`."""

    address, port = "127.0.0.1", 8080

    def __init__(self, world, pod, path, body, cpu):
        directory = os.path.join(world.tmp, "nginx")
        name = os.path.join(directory, "root", path.lstrip("/"))
        os.makedirs(os.path.dirname(name))
        with open(name, "w", encoding="utf-8") as f:
            f.write(body)
        config = os.path.join(directory, "nginx.conf")
        with open(config, "w", encoding="utf-8") as f:
            f.write(CONFIG.format(dir=directory, address=self.address, port=self.port))
        process = pod.spawn(["nginx", "-p", directory, "-c", config])
        deadline = time.monotonic() + 10 * PATIENCE
        while not (workers := children(process.pid)):
            assert process.poll() is None and time.monotonic() < deadline, "nginx does not start"
        self._pids = [process.pid, *workers]
        for pid in self._pids:
            pin(pid, cpu)

    def pids(self):
        return self._pids

    def cpu_seconds(self):
        return sum(map(cpu_seconds, self._pids))
