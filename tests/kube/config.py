"""What the programs of the cluster are told: certificates, tokens, and the text of each
configuration file. All of it is made anew for each cluster and lives in the box's /run. The address
plan is here, too. Used by cluster.py."""

import json
import os
import secrets
import subprocess

NODE = "node-1"
NODE_IP = "10.78.0.1"      # on lo of the box: nothing outside of it can be meant
SERVICE_IP = "10.96.0.1"   # the API server's as pods know it; on lo, too: needs no kube-proxy
POD_SUBNET = "10.77.0.0/24"
PORT = 443                 # one for both addresses
OTHER_PORT = 8443          # of an API server that only a test knows of
ISSUER = "https://issuer.test"
FLEX = "/var/lib/kubelet/flexvolumes"  # by default this would be below /usr
# user, groups; each gets a token
USERS = {"admin": ("admin", "system:masters"),
         "kubelet": (f"system:node:{NODE}", "system:nodes"),
         "controller-manager": ("system:kube-controller-manager", ""),
         "scheduler": ("system:kube-scheduler", "")}


def _openssl(*args):
    subprocess.run(["openssl", *args], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


class Files:
    """Writes everything on creation; attributes are paths."""

    def __init__(self, directory, programs, pause_image):
        self.directory, self._programs, self._pause = directory, programs, pause_image
        self.tokens = {name: secrets.token_hex(16) for name in USERS}
        os.makedirs(directory, exist_ok=True)
        self._certificates()
        self.token_file = self.write("tokens.csv", "".join(
            f'{self.tokens[name]},{user},{name},"{group}"\n'
            for name, (user, group) in USERS.items()))
        self.kubeconfigs = {name: self.write(f"{name}.kubeconfig", self._kubeconfig(name))
                            for name in USERS}
        self.static = self.path("static")  # pods that kubelet runs without being told to
        os.mkdir(self.static)
        self.kubelet = self.write("kubelet.json", json.dumps(self._kubelet()))
        self.containerd = self.write("containerd.toml", self._containerd())
        self.write("cni/10-pods.conflist", json.dumps(self._cni()))

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    # -- certificates

    def _certificates(self):
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        _openssl("req", "-x509", *key, "-days", "2", "-subj", "/CN=test-ca",
                 "-addext", "keyUsage=critical,keyCertSign", "-keyout", self.path("ca.key"),
                 "-out", self.path("ca.crt"))
        names = (f"IP:{NODE_IP},IP:{SERVICE_IP},IP:127.0.0.1,DNS:localhost,DNS:{NODE},"
                 "DNS:kubernetes.default.svc")
        self._certificate("apiserver", "/CN=kube-apiserver", f"subjectAltName={names}", key)
        self._certificate("kubelet", f"/O=system:nodes/CN=system:node:{NODE}",
                          f"subjectAltName={names}", key)
        self._certificate("kubelet-client", "/O=system:masters/CN=apiserver-kubelet-client",
                          "extendedKeyUsage=clientAuth", key)
        # RS256, as Entra wants it of an issuer
        _openssl("genrsa", "-out", self.path("accounts.key"), "2048")
        _openssl("rsa", "-in", self.path("accounts.key"), "-pubout", "-out",
                 self.path("accounts.pub"))

    def _certificate(self, name, subject, extension, key):
        request = self.path(f"{name}.csr")
        extensions = self.write(f"{name}.ext", extension + "\n")
        _openssl("req", "-new", *key, "-subj", subject, "-keyout", self.path(f"{name}.key"),
                 "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", self.path("ca.crt"), "-CAkey",
                 self.path("ca.key"), "-CAcreateserial", "-days", "2", "-extfile", extensions,
                 "-out", self.path(f"{name}.crt"))

    # -- files

    def _kubeconfig(self, name):
        return json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": f"https://{NODE_IP}:{PORT}",
                "certificate-authority": self.path("ca.crt")}}],
            "users": [{"name": name, "user": {"token": self.tokens[name]}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}]})

    def _kubelet(self):
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                               "x509": {"clientCAFile": self.path("ca.crt")}},
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": self.path("kubelet.crt"), "tlsPrivateKeyFile": self.path("kubelet.key"),
            "cgroupDriver": "cgroupfs", "enforceNodeAllocatable": [], "failSwapOn": False,
            "makeIPTablesUtilChains": False, "oomScoreAdj": 0, "resolvConf": "",
            "staticPodPath": self.static, "volumePluginDir": FLEX, "protectKernelDefaults": True,
            # a disk or a memory that others fill must not disturb the tests
            "evictionHard": {"memory.available": "0%", "nodefs.available": "0%",
                             "imagefs.available": "0%", "nodefs.inodesFree": "0%"},
            "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
            # so that a change is seen at once: the defaults are for large clusters
            "nodeStatusUpdateFrequency": "1s", "serializeImagePulls": False,
            "kubeAPIQPS": 200, "kubeAPIBurst": 400, "eventRecordQPS": 0, "maxPods": 250}

    def _containerd(self):
        programs = self._programs
        return f"""\
version = 2
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{self._pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{programs}/cni"
    conf_dir = "{self.path('cni')}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{programs}/bin/runc"
"""

    @staticmethod
    def _cni():
        ipam = {"type": "host-local", "ranges": [[{"subnet": POD_SUBNET}]],
                "routes": [{"dst": "0.0.0.0/0"}]}
        return {"cniVersion": "0.4.0", "name": "pods", "plugins": [
            {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "ipam": ipam}]}

    # -- command lines

    def etcd(self):
        return ["--data-dir", "/var/lib/etcd", "--listen-client-urls", "http://127.0.0.1:2379",
                "--advertise-client-urls", "http://127.0.0.1:2379",
                "--listen-peer-urls", "http://127.0.0.1:2380", "--snapshot-count", "5000"]

    def apiserver(self, port=PORT):
        return [f"--secure-port={port}", f"--advertise-address={NODE_IP}",
                "--service-cluster-ip-range=10.96.0.0/16", "--allow-privileged=true",
                "--etcd-servers=http://127.0.0.1:2379",
                f"--client-ca-file={self.path('ca.crt')}",
                f"--tls-cert-file={self.path('apiserver.crt')}",
                f"--tls-private-key-file={self.path('apiserver.key')}",
                f"--token-auth-file={self.token_file}", "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                # as newer releases do it: tokens in pods are bound to them and expire
                "--feature-gates=BoundServiceAccountTokenVolume=true",
                f"--service-account-issuer={ISSUER}",
                f"--service-account-key-file={self.path('accounts.pub')}",
                f"--service-account-signing-key-file={self.path('accounts.key')}",
                f"--api-audiences={ISSUER},https://kubernetes.default.svc",
                "--kubelet-preferred-address-types=InternalIP",
                f"--kubelet-certificate-authority={self.path('ca.crt')}",
                f"--kubelet-client-certificate={self.path('kubelet-client.crt')}",
                f"--kubelet-client-key={self.path('kubelet-client.key')}"]

    def controller_manager(self):
        return [f"--kubeconfig={self.kubeconfigs['controller-manager']}", "--leader-elect=false",
                "--port=0", "--bind-address=127.0.0.1", "--use-service-account-credentials=true",
                "--node-monitor-period=1s", "--kube-api-qps=200", "--kube-api-burst=400",
                f"--service-account-private-key-file={self.path('accounts.key')}",
                "--feature-gates=BoundServiceAccountTokenVolume=true",
                f"--root-ca-file={self.path('ca.crt')}", f"--flex-volume-plugin-dir={FLEX}"]

    def scheduler(self):
        return [f"--kubeconfig={self.kubeconfigs['scheduler']}", "--leader-elect=false", "--port=0",
                "--bind-address=127.0.0.1"]

    def kubelet_args(self):
        return [f"--config={self.kubelet}", f"--kubeconfig={self.kubeconfigs['kubelet']}",
                f"--hostname-override={NODE}", f"--node-ip={NODE_IP}", "--container-runtime=remote",
                "--container-runtime-endpoint=unix:///run/containerd/containerd.sock",
                "--cert-dir=/var/lib/kubelet/pki"]
