"""Seals and opens ESP packets with scapy, an implementation that shares nothing with ours.

Reads one JSON request a line and answers each with one: {"op": "seal" | "open", "suite", "encryption", "integrity",
"spi", "sequence", "extended", "outer": [source, destination], "udp", "packet"}. A sealed packet goes both ways as the
whole outer IP packet, an opened one as the inner IP packet.
"""

import json
import struct
import sys

from scapy.compat import raw
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import AUTH_ALGOS, CRYPT_ALGOS, ESP, AuthAlgo, IPSecIntegrityError, SecurityAssociation

ENCRYPTION = {
    "aes128gcm16": "AES-GCM",
    "aes256gcm16": "AES-GCM",
    "chacha20poly1305": "CHACHA20-POLY1305",
    "aes128": "AES-CBC",
    "aes256": "AES-CBC",
}
INTEGRITY = {
    "sha1": "HMAC-SHA1-96",
    "sha256": "SHA2-256-128",
    "sha384": "SHA2-384-192",
    "sha512": "SHA2-512-256",
}


class ExtendedAuth(AuthAlgo):
    """HMAC over an ESP packet and the high half of its sequence number (RFC 4303 2.2.1), which scapy leaves out."""

    def __init__(self, base, high):
        super().__init__(base.name, base.mac, base.digestmod, base.icv_size, base.key_size)
        self.high = struct.pack("!L", high)

    def _icv(self, esp, key):
        mac = self.new_mac(key)
        mac.update(raw(esp) + self.high)
        return mac.finalize()[: self.icv_size]

    def sign(self, pkt, key, **_):
        pkt[ESP].data += self._icv(pkt[ESP], key)
        return pkt

    def verify(self, pkt, key, **_):
        esp = pkt.copy()
        icv, esp.data = esp.data[-self.icv_size :], esp.data[: -self.icv_size]
        if self._icv(esp, key) != icv:
            raise IPSecIntegrityError("wrong ICV")


def association(request):
    encryption, _, integrity = request["suite"].partition("-")
    source, destination = request["outer"]
    high = request["sequence"] >> 32
    sa = SecurityAssociation(
        ESP,
        spi=request["spi"],
        # Here, not at the call, where scapy takes a low half of zero for none given.
        seq_num=request["sequence"] & 0xFFFFFFFF,
        crypt_algo=ENCRYPTION[encryption],
        crypt_key=bytes.fromhex(request["encryption"]),
        auth_algo=INTEGRITY.get(integrity),
        auth_key=bytes.fromhex(request["integrity"]),
        tunnel_header=(IPv6 if ":" in source else IP)(src=source, dst=destination),
        nat_t_header=UDP(sport=4500, dport=4500) if request["udp"] else None,
        esn_en=request["extended"],
        esn=high,
    )
    if request["extended"] and integrity:
        sa.auth_algo = ExtendedAuth(sa.auth_algo, high)
    return sa


def ip(data):
    return (IPv6 if data[0] >> 4 == 6 else IP)(data)


def answer(request):
    sa, packet = association(request), ip(bytes.fromhex(request["packet"]))
    if request["op"] == "seal":
        return raw(sa.encrypt(packet))
    return raw(sa.decrypt(packet))


def main():
    assert all(name in CRYPT_ALGOS for name in ENCRYPTION.values())
    assert all(name in AUTH_ALGOS for name in INTEGRITY.values())
    for line in sys.stdin:
        try:
            print(json.dumps({"packet": answer(json.loads(line)).hex()}), flush=True)
        except Exception as error:  # the other side shows it
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)


if __name__ == "__main__":
    main()
