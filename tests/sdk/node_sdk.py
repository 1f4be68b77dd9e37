"""The official Node.js clients behind the same face as the Python SDKs: call(product, action, parameters) -> dict."""

import json
import subprocess
from pathlib import Path

from sdks import Refused


class NodeSdk:
    """`client` is `typed` (signs ACS3, bodies in chunks) or `pop` (signs RPC v1, everything in the body)."""

    def __init__(self, client, *server):
        self.client = client
        self.name = f"node.js client, {client}" if client == "typed" else "pop-core for node.js"
        calls = Path(__file__).parent / "node" / "calls.js"
        self.process = subprocess.Popen(["node", calls, *server], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def call(self, product, action, parameters):
        call = {"client": self.client, "product": product, "action": action, "parameters": parameters}
        self.process.stdin.write(json.dumps(call) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "node.js has ended"
        reply = json.loads(line)
        if "answer" not in reply:
            raise Refused(reply.get("status"), reply["code"], reply["message"])
        return reply["answer"]
