"""The clients: how each is started in a pod, and what it can be told. None of them is changed for
the tests, and none is told where the metadata service is. Used by test_clients.py.

Every client gives an answer of the same form:
    {"result": "ok", "appid": …, "aud": …} or {"result": "error", "name": …, "message": …}"""

import json
import os
import re
import shutil
import subprocess
import urllib.parse

import java
from packages import HERE, npm_packages, python_sdk
from places import Reply
from table import UNKNOWN
from tap import Skip

PYTHON = "/usr/bin/python3"
# of the plain clients, a second apart: the least that an SDK does (MSAL for Go, MSAL for Java)
RETRIES = 3
VAULT, STORAGE = "https://vault.azure.net", "https://storage.azure.com"
# what would lead a client elsewhere than to the metadata address
LEADS_AWAY = re.compile(r"(AZURE|AZCOPY|IDENTITY|MSI|IMDS|MSAL|NODE|PYTHON)_?.*|PYTHONPATH|"
                        r"((http|https|no|all)_proxy)", re.IGNORECASE)


def tool(name):
    path = shutil.which(name)
    if not path:
        raise Skip(f"needs {name}")
    return path


def first_line(argv):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.STDOUT, check=True)
    return done.stdout.splitlines()[0]


def home_of(w):
    home = os.path.join(w.tmp, "home")
    os.makedirs(home, exist_ok=True)
    return home


class Client:
    """selectors: how it can name an identity. resource: what it asks a token for.
    floats: its version is the machine's and not ours."""
    name, resource, floats = "", VAULT, False
    selectors = ("client_id", "object_id", "resource_id")
    _version = None

    def __init__(self):
        self._unusable = None

    def prepare(self, w):
        """Installs it, once; a reason to skip holds for all the tests of this client."""
        if self._unusable:
            raise Skip(self._unusable)
        if self._version is None:
            try:
                self._version = self.install(w)
            except Skip as skip:
                self._unusable = str(skip)
                raise

    def install(self, w):
        """Makes it ready to run and returns its version."""
        raise NotImplementedError

    def argv(self, selector, value):
        raise NotImplementedError

    def answer(self, status, out, err):
        assert out, f"{self.name} says nothing: exit {status}: {err}"
        return json.loads(out.splitlines()[-1])

    def env(self):
        return {}

    def retold(self, description):
        """What it makes of the agent's words."""
        return description

    @property
    def version(self):
        """Without the patch level."""
        return ".".join(re.findall(r"\d+", self._version)[:2]) if self._version else UNKNOWN

    def ask(self, pod, selector, value):
        home = home_of(pod.world)
        env = {k: v for k, v in os.environ.items() if not LEADS_AWAY.fullmatch(k)}
        env.update(pod.world.env, HOME=home, LC_ALL="C.UTF-8", PYTHONDONTWRITEBYTECODE="1")
        env.update(self.env())
        argv = self.argv(selector, value)
        return self.answer(*pod.run(argv, env=env, cwd=home, timeout=90))


class Node(Client):
    def __init__(self, name, kind, package, selectors=Client.selectors):
        super().__init__()
        self.name, self._kind, self._package, self.selectors = name, kind, package, selectors
        self._modules = None

    def install(self, w):
        tool("node")
        self._modules = npm_packages()
        with open(f"{self._modules}/node_modules/{self._package}/package.json",
                  encoding="utf-8") as f:
            return json.load(f)["version"]

    def env(self):
        return {"IG_NODE_MODULES": self._modules}

    def argv(self, selector, value):
        named = [selector, value] if selector else []
        return [tool("node"), f"{HERE}/azure_node.mjs", self._kind, *named]


class Azcopy(Client):
    name, resource, selectors = "azcopy login --identity", STORAGE, ("client_id", "resource_id")
    _program = _home = None

    def install(self, w):
        self._home = home_of(w)
        folder = f"{npm_packages()}/node_modules/@azure-tools/azcopy-linux/dist/bin"
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, "?")
        self._program = f"{folder}/azcopy_linux_{machine}"
        if not os.path.exists(self._program):
            raise Skip(f"no azcopy for {os.uname().machine} in its npm package")
        # it looks for a newer version of itself, so not outside of a pod
        env = {**os.environ, **w.env, "HOME": self._home}
        status, out, err = w.pods["none"].run([self._program, "--version"], env=env)
        assert status == 0, f"azcopy --version: {out}{err}"
        return out.splitlines()[0]

    def env(self):
        return {"AZCOPY_DISABLE_SYSLOG": "true"}

    def argv(self, selector, value):
        option = f"--identity-{selector.replace('_', '-')}" if selector else None
        named = [option, value] if selector else []
        return [PYTHON, f"{HERE}/azcopy_login.py", self._program, self._home, *named]


class Python(Client):
    floats = True

    def __init__(self, name, kind, selectors=Client.selectors):
        super().__init__()
        self.name, self._kind, self.selectors, self._path = name, kind, selectors, None

    def install(self, w):
        self._path = python_sdk()
        return first_line([PYTHON, "-B", "-c", "import sys; sys.path.insert(0, sys.argv[1]); "
                           "import azure.identity as i; print(i.__version__)", self._path])

    def env(self):
        return {"PYTHONPATH": self._path}

    def retold(self, description):
        return "assigned to this resource"  # its own words for every 400

    def argv(self, selector, value):
        named = [selector, value] if selector else []
        return [PYTHON, f"{HERE}/azure_python.py", self._kind, *named]


class Plain(Client):
    """A program that knows HTTP and nothing of Azure; the selectors have the names of the wire."""
    floats = True
    names = {"client_id": "client_id", "object_id": "object_id", "resource_id": "msi_res_id"}

    def query(self, selector, value):
        return f"&{self.names[selector]}={urllib.parse.quote(value, safe='')}" if selector else ""

    @staticmethod
    def judge(status, body):
        reply = Reply(body=body)
        if status == 200:
            content = json.loads(body)
            return {"result": "ok", "appid": reply.appid, "aud": content["resource"]}
        return {"result": "error", "name": f"status {status}", "message": body}


class Java(Plain):
    name = "Java HttpURLConnection"
    _classes = None

    def install(self, w):
        java.compile_dial(w.tmp)
        self._classes = w.tmp
        return first_line(java.command("-version"))

    def argv(self, selector, value):
        return java.dial(self._classes, "169.254.169.254", "80", self.query(selector, value),
                         str(1 + RETRIES))

    def answer(self, status, out, err):
        reply = super().answer(status, out, err)
        if reply["result"] == "ok":
            return self.judge(reply["status"], reply["body"])
        return {"result": "error", "name": reply["errno"], "message": reply["stage"]}


class Curl(Plain):
    name = "curl --retry"
    _body = None

    def install(self, w):
        self._body = os.path.join(home_of(w), "body")
        return first_line([tool("curl"), "--version"]).split()[1]

    def argv(self, selector, value):
        url = ("http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01"
               f"&resource={urllib.parse.quote(VAULT, safe='')}{self.query(selector, value)}")
        # a file, because the bodies of attempts that are repeated stay in any other output
        return [tool("curl"), "-q", "-sS", "--retry", str(RETRIES), "--max-time", "60", "-H",
                "Metadata: true", "-o", self._body, "-w", "%{http_code}", url]

    def answer(self, status, out, err):
        if status:
            return {"result": "error", "name": f"exit {status}", "message": err}
        with open(self._body, encoding="utf-8") as f:
            return self.judge(int(out), f.read())


def all_clients():
    return [
        Node("@azure/identity ManagedIdentityCredential", "managed", "@azure/identity"),
        Node("@azure/identity DefaultAzureCredential", "default", "@azure/identity",
             ("client_id", "resource_id")),
        Node("@azure/msal-node ManagedIdentityApplication", "msal", "@azure/msal-node"),
        Azcopy(),
        Python("azure-identity (Python) ManagedIdentityCredential", "managed"),
        Python("azure-identity (Python) DefaultAzureCredential", "default", ("client_id",)),
        Java(),
        Curl(),
    ]
