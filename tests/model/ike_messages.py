"""Reads IKEv2 messages in hexadecimal, one a line, and answers each with a line that says what scapy makes of it.
The last line is an IKE_SA_INIT request that scapy has written, in hexadecimal."""
import sys

from scapy.contrib import ikev2


def summary(message):
    names = []
    layer = message.payload
    while layer:
        names.append(type(layer).__name__.replace("IKEv2_payload_", ""))
        if isinstance(layer, ikev2.IKEv2_payload_Notify):
            names[-1] += "(%d)" % layer.type
        layer = layer.payload
    return "%s %d %s %s" % (message.init_SPI.hex(), message.exch_type, message.id, " ".join(names))


def request():
    transforms = (
        ikev2.IKEv2_payload_Transform(transform_type=1, transform_id=20, length=12, key_length=256)
        / ikev2.IKEv2_payload_Transform(transform_type=2, transform_id=5)
        / ikev2.IKEv2_payload_Transform(transform_type=4, transform_id=31)
    )
    return (
        ikev2.IKEv2(init_SPI=b"\x05" * 8, next_payload=33, exch_type=34, flags="Initiator")
        / ikev2.IKEv2_payload_SA(next_payload=34, prop=ikev2.IKEv2_payload_Proposal(trans_nb=3, trans=transforms))
        / ikev2.IKEv2_payload_KE(next_payload=40, group=31, load=b"\x09" * 32)
        / ikev2.IKEv2_payload_Nonce(next_payload=41, load=b"\x07" * 32)
        / ikev2.IKEv2_payload_Notify(next_payload=0, type=16388, load=b"\x01" * 20)
    )


for line in sys.stdin:
    print(summary(ikev2.IKEv2(bytes.fromhex(line.strip()))))
print(bytes(request()).hex())
