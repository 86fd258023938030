"""A cloudcore of this machine, alone, for guests whose way to it is the address 10.0.2.2."""

import json
import os
import socket
import subprocess
import time
from pathlib import Path

HOST = "10.0.2.2"  # the loopback of this machine, as the guest reaches it
START_SECONDS = 120
SESSION_SECONDS = 480

CONFIG = f"""apiVersion: cloudcore.config.kubeedge.io/v1alpha1
kind: CloudCore
modules:
  cloudHub:
    advertiseAddress:
    - {HOST}
    - 127.0.0.1
"""


class Cloud:
    def __init__(self, executable, folder, arguments=()):
        self.executable, self.folder, self.arguments = executable, folder, arguments
        self.env = dict(os.environ, KUBEEDGE_ROOT=str(folder))
        self.process = None
        self.ports = {"https": 0, "hub": 0}

    def start(self):
        """Starts it, on the ports it had before when there were any."""
        folder = self.folder
        (folder / "etc/kubeedge/config").mkdir(parents=True, exist_ok=True)
        (folder / "etc/kubeedge/config/cloudcore.yaml").write_text(CONFIG)
        ports = folder / "ports"
        ports.unlink(missing_ok=True)
        with open(folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", self.executable, "cloudcore",
                 "--listen", "127.0.0.1", "--metrics-port", "0", "--allow-volatile-ca",
                 "--https-port", str(self.ports["https"]), "--hub-port", str(self.ports["hub"]),
                 "--ports-file", str(ports), *self.arguments],
                env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: ports.exists() and ports.read_text().strip(), START_SECONDS, "cloudcore to start", self.process)
        self.ports = json.loads(ports.read_text())

    def stop(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def token(self):
        done = subprocess.run([self.executable, "gettoken"], env=self.env, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"gettoken: {done.stderr}")
        return done.stdout.strip()

    def apply(self, document, node):
        """Hands an object, a text of JSON, to the node."""
        done = subprocess.run([self.executable, "cloudcore", "ctl", "apply", "-f", "-", "--node", node], env=self.env,
                              input=document, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"ctl apply: {done.stderr or done.stdout}")

    def session(self, node):
        """What cloudcore knows of the node's session, or nothing."""
        request = {"v": 1, "op": "sessions", "names": [node]}
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(60)
            asked.connect(str(self.folder / "run/kubeedge/cloudcore.sock"))
            asked.sendall(json.dumps(request).encode() + b"\n")
            with asked.makefile() as answer:
                return json.loads(answer.readline() or "{}")

    def connected(self, node):
        said = self.session(node)
        return bool(said.get("serial")) and said.get("connected", True) and said

    def await_session(self, node, other_than=None, seconds=SESSION_SECONDS):
        """Waits for a session that is not the one of that generation; its facts."""
        def there():
            said = self.connected(node)
            return said if said and said.get("generation") != other_than else None
        return wait_for(there, seconds, f"a session of {node}")

    def log_end(self, lines=30):
        return "\n".join((self.folder / "log").read_text(errors="replace").splitlines()[-lines:])


def wait_for(condition, seconds, what, process=None):
    """Asks again and again; the condition is of another process, which tells nobody."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if process and process.poll() is not None:
            raise RuntimeError(f"waited for {what}; the process ended with {process.returncode}")
        if time.monotonic() > end:
            raise RuntimeError(f"waited {seconds} s for {what}")
        time.sleep(0.05)


def native(top, version):
    """The executable for this machine: dist/ has it, else cargo's target/; KUBEEDGE_NATIVE=FILE is another."""
    for name in (os.environ.get("KUBEEDGE_NATIVE"), f"dist/kubeedge-{version}-{os.uname().machine}",
                 "target/release/kubeedge", "target/debug/kubeedge"):
        if name and os.access(Path(top) / name, os.X_OK):
            return str((Path(top) / name).resolve())
    raise RuntimeError(f"no executable for this machine: run ./musl-build.sh {os.uname().machine}")
