#!/usr/bin/env python3
"""A cloud as KubeEdge's behaves, for our edgecore: serves, provokes, and judges who connects.

Prints one JSON object a line; the first is `ready` with the ports. Lines on standard input:
  drop            end every tunnel without a word     down / up   stop and start both listeners
  push JSON       send this message to every session  token       write a fresh token
  answer N        `/edge.crt` answers N (200: again certificates)
  put, have, remove, release, many, misbehave: objects (cloud_objects.py)
  be PORT MISDEED [PATH]   answer wrongly on `https` or `hub` (cloud_hostile.py), or `good` again
  misdeed OPERATION KIND WHAT  with the next such question; deaf KIND…  answer no such question (cloud_node.py)
  delete-node N, forget-lease N, lose-ready N   as the cluster does; show  print nodes and leases
  stop            (or the end of input) print `verdict` and leave: 0, or 1 after any violation
"""

import argparse
import asyncio
import json
import os
import sys
import threading

import cloud_hostile
import cloud_https
import cloud_hub
import cloud_node
import cloud_objects
import pki
import wire

SABOTAGES = ["ca-other", "serving-other-ca", "serving-no-address", "serving-expired",
             "hub-other-ca", "hub-accept", *cloud_https.CERT_SABOTAGES]


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--dir", required=True, help="where CA, keys and token are kept; a CA found there is used")
    add("--bind", default="127.0.0.1", help="address of both ports (127.0.0.1, ::1)")
    add("--https-port", type=int, default=0)
    add("--hub-port", type=int, default=0)
    add("--advertise", action="append", help="address in the serving certificate (default: --bind)")
    add("--dns", action="append", default=[], help="name in the serving certificate")
    add("--empty-dns-name", action="store_true", help="a dNSName of no length, as upstream's default has it")
    add("--token-file", help="where the token goes (default DIR/token)")
    add("--ports-file", help="written last: {host, https, hub, pid} as JSON")
    add("--events", help="the printed lines also go to this file")
    add("--token-seconds", type=float, default=86400)
    add("--cert-seconds", type=float, default=365 * 86400.0, help="lifetime of edges' certificates")
    add("--ca-age", type=float, default=0.0, help="seconds since a new CA began")
    add("--serving-seconds", type=float, default=364 * 100 * 86400.0, help="until the serving certificates end")
    add("--serving-age", type=float, default=0.0, help="since they began")
    add("--date-off", type=float, default=0.0, help="seconds by which the Date header is wrong")
    add("--keepalive-timeout", type=float, default=30)
    add("--node-exists", action="append", default=[], help="a name that /node/NAME knows")
    add("--v113", action="store_true", help="behave like v1.13")
    add("--allow-legacy", action="store_true", help="do not judge the subject v1.13 edges use")
    add("--kill-newcomer", action="store_true", help="a second connection of a node ends both")
    add("--drop-after", type=float, help="end a tunnel after so many seconds")
    add("--drop-times", type=int, default=1, help="how many tunnels --drop-after ends")
    add("--terms", help="grant these terms: signs of life are frames then")
    add("--silent", choices=["tunnel", "tls"], help="go silent after the upgrade, or before TLS")
    add("--sabotage", choices=SABOTAGES, help="be a cloud that no edge may believe")
    add("--sabotage-when", choices=["enroll", "rotate", "always"], default="always")
    return parser.parse_args()


class Cloud:
    def __init__(self, given):
        self.options = given
        self.events = wire.Events(given.events)
        self.violations = []
        self.known_nodes = set(given.node_exists)
        self.authority = self.load_authority()
        self.mac_key = pki.sec1_der(self.authority.key)
        self.decoy = pki.Authority.create() if given.sabotage else None
        self.port = cloud_https.CertificatePort(self)
        self.hub = cloud_hub.Hub(self)
        self.objects = cloud_objects.Objects(self)
        self.nodes = cloud_node.Nodes(self)
        self.misdeeds = cloud_hostile.Misdeeds(self)
        self.listeners = {}
        self.contexts = {}
        self.ports = [given.https_port, given.hub_port]

    def judge(self, rule, detail):
        self.violations.append(rule)
        self.events("violation", rule=rule, detail=detail)

    def bait(self, *kinds):
        """Whether the sabotage is of this kind: an edge that comes this far was too trusting."""
        sabotage, when = self.options.sabotage, self.options.sabotage_when
        return sabotage and sabotage.split("-")[0] in kinds and when == "always"

    # --- keys and certificates -----------------------------------------------------------------

    def path(self, name):
        return os.path.join(self.options.dir, name)

    def load_authority(self):
        os.makedirs(self.options.dir, mode=0o700, exist_ok=True)
        if os.path.exists(self.path("ca.pem")):
            with open(self.path("ca.pem"), "rb") as cert, open(self.path("ca.key"), "rb") as key:
                cert = pki.x509.load_pem_x509_certificate(cert.read())
                return pki.Authority(pki.load_key(key.read()), cert)
        made = pki.Authority.create((365 if self.options.v113 else 364) * 100, self.options.ca_age)
        wire.write_atomic(self.path("ca.key"), pki.sec1_pem(made.key))
        wire.write_atomic(self.path("ca.pem"), pki.pem(made.cert), 0o644)
        return made

    def context(self, role, require):
        given, signer, seconds = self.options, self.authority, self.options.serving_seconds
        addresses = given.advertise or [given.bind]
        if given.sabotage == f"{role}-other-ca":
            signer = self.decoy
        if role == "serving" and given.sabotage == "serving-no-address":
            addresses = ["192.0.2.1"]
        if role == "serving" and given.sabotage == "serving-expired":
            seconds = -3600
        names = ([""] if given.empty_dns_name else []) + given.dns
        key, cert = signer.serving(addresses, names, seconds, given.serving_age)
        wire.write_atomic(self.path(f"{role}.key"), pki.sec1_pem(key))
        wire.write_atomic(self.path(f"{role}.pem"), pki.pem(cert), 0o644)
        files = (self.path(name) for name in (f"{role}.pem", f"{role}.key", "ca.pem"))
        return cloud_https.server_context(*files, self.judge, require=require)

    def ca_answer(self):
        wrong = self.options.sabotage == "ca-other"
        return pki.der((self.decoy if wrong else self.authority).cert)

    def write_token(self):
        token = wire.mint_token(pki.der(self.authority.cert), self.mac_key, self.options.token_seconds)
        wire.write_atomic(self.options.token_file or self.path("token"), token)

    def issue(self, csr, node, how):
        """The answer to a request that upstream would sign: organisation and name are copied."""
        given, subject = self.options, pki.organization_and_name(csr.subject)
        now = {"token": "enroll", "certificate": "rotate"}[how]
        spoiled = given.sabotage in cloud_https.CERT_SABOTAGES and given.sabotage_when in (now, "always")
        if spoiled:
            body = cloud_https.sabotaged(given.sabotage, self, csr, subject, given.cert_seconds)
            self.events("spoiled", node=node, how=how, sabotage=given.sabotage)
            return body
        cert = self.authority.sign(csr.public_key(), subject, given.cert_seconds, [pki.CLIENT_AUTH])
        self.events("enroll", node=node, how=how, serial=format(cert.serial_number, "x"),
                    until=cert.not_valid_after_utc.isoformat())
        return pki.der(cert)

    # --- running -------------------------------------------------------------------------------

    async def up(self):
        for port in ("https", "hub"):
            await self.listen(port)
        ready = {"host": self.options.bind, "https": self.ports[0], "hub": self.ports[1], "pid": os.getpid()}
        if self.options.ports_file:
            wire.write_atomic(self.options.ports_file, json.dumps(ready), 0o644)
        self.events("ready", **ready)

    async def listen(self, port):
        at, bind = ("https", "hub").index(port), self.options.bind
        if port not in self.contexts:
            self.contexts[port] = self.context("serving" if port == "https" else "hub", port == "hub")
        context, number = self.contexts[port], self.ports[at]
        server = await self.misdeeds.listen(port, bind, number, context)
        if not server and port == "https":
            limits = {"limit": cloud_https.HEAD_LIMIT}
            server = await asyncio.start_server(self.port.serve, bind, number, ssl=context, **limits)
        elif not server:
            server = await self.hub.listen(bind, number, context)
        self.listeners[port] = server
        self.ports[at] = server.sockets[0].getsockname()[1]

    async def listen_again(self, port):
        self.close(self.listeners.pop(port))
        if port == "hub":
            self.hub.drop_all()
        await self.listen(port)

    @staticmethod
    def close(server):
        try:
            server.close(close_connections=False)  # the websocket server's close
        except TypeError:
            server.close()

    def down(self):
        for server in self.listeners.values():
            self.close(server)
        self.listeners = {}
        self.hub.drop_all()

    async def obey(self, line):
        word, _, rest = line.strip().partition(" ")
        if word == "drop":
            self.hub.drop_all()
        elif word == "push":
            self.hub.push(rest)
        elif word == "token":
            self.write_token()
        elif word == "answer":
            self.port.forced_status = int(rest)
        elif word == "down":
            self.down()
        elif word == "up":
            self.contexts = {}
            await self.up()
        elif word == "be":
            await self.misdeeds.be(*rest.split())
        elif word and not self.objects.obey(word, rest) and not self.nodes.obey(word, rest):
            raise ValueError(f"unknown word {word!r}")
        if word and word != "up":
            self.events("did", command=word)

    async def run(self):
        lines, loop = asyncio.Queue(), asyncio.get_running_loop()

        def read():
            for line in sys.stdin:
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, "stop")

        self.write_token()
        await self.up()
        threading.Thread(target=read, daemon=True).start()
        while (line := await lines.get()).strip() != "stop":
            await self.obey(line)
        self.down()
        self.events("verdict", violations=self.violations)
        return 1 if self.violations else 0


if __name__ == "__main__":
    os._exit(asyncio.run(Cloud(options()).run()))
