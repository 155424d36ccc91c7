#!/usr/bin/env python3
"""Verify an Interlock recording of format 2 without Interlock: an independent reading of docs/FORMAT.md.

    python3 verify_recording.py RECORDING KEYS

KEYS is the output of ``ilctl auth export --type recordings``. Needs the packages zstandard and cryptography. Prints
what the recording proves and exits with 0 if it is signed, 2 if it is whole but nobody has signed it, and 1, with
the offset of the first byte that is wrong, in every other case.
"""

import base64
import hashlib
import json
import struct
import sys
import uuid
import zlib
from datetime import datetime, timedelta, timezone

import zstandard
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAGIC = b"\x89ILR\r\n\x1a"
PREAMBLE = 16
HEAD = struct.Struct(">4sIBBIIIQI32s")  # sync checksum kind flags number length frames time span before
SEAL = struct.Struct(">BQQH")  # state kept index length-of-warrant
SEALS, KEYS, KEYED = 2, 5, 2
CHECKPOINT, CLOSED, COMPLETED = 1, 2, 3
MAX_BLOCK = 1 << 20
MAX_STORED = MAX_BLOCK + MAX_BLOCK // 128 + 512
MAX_WARRANT = 1024


class Wrong(Exception):
    """The first thing that is wrong, and where."""

    def __init__(self, offset, words):
        super().__init__(f"byte {offset}: {words}")
        self.offset = offset


def public_keys(text):
    """The authority's raw keys from OpenSSH lines, and until when what they vouch for may be good."""
    keys = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            blob = base64.b64decode(line.split()[1])
            name = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"
            if not blob.startswith(name) or len(blob) != len(name) + 32:
                raise ValueError("not an ssh-ed25519 key: " + line)
            former = " until=" in line and line.rstrip().rpartition("=")[2].replace("Z", "+00:00")
            late = datetime.fromisoformat(former).timestamp() + 3600 + 30 * 86400 if former else float("inf")
            keys[blob[len(name) :]] = late
    return keys


def is_signed(key, purpose, message, signature):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, purpose + b"\0" + message)
    except (InvalidSignature, ValueError):
        return False
    return True


def number(data, at):
    """A LEB128 number, and where it ends."""
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 0x80:
            return value, at


def header_of(payload, offset):
    """The JSON of the first frame, which says whose session this is."""
    try:
        if not 0 <= zstandard.get_frame_parameters(payload).content_size <= MAX_BLOCK:
            raise ValueError("too large")
        data = zstandard.ZstdDecompressor().decompress(payload)
        if data[0] != 1:
            raise ValueError("another frame")
        _, at = number(data, 1)
        size, at = number(data, at)
        header = json.loads(data[at : at + size])
        uuid.UUID(header["sid"]), header["recorded_by"], header["cluster"], header["start"]
        return header
    except (zstandard.ZstdError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise Wrong(offset, "the recording does not begin with its header") from None


class Verifier:
    """One pass over the blocks of a file."""

    def __init__(self, keys):
        self.keys = keys if isinstance(keys, dict) else dict.fromkeys(keys, float("inf"))
        self.warrant = b""  # of the last seal that had one
        self.header = None
        self.state = CHECKPOINT
        self.signer = None
        self.signed_to = 0  # the last signature is about the bytes before this offset

    def file(self, data):
        if data[: len(MAGIC)] != MAGIC[: len(data)]:
            raise Wrong(0, "not a recording")
        if len(data) < PREAMBLE:
            raise Wrong(len(data), "the file ends before its first block")
        if data[7] != 2:
            raise Wrong(0, f"format {data[7]}: this program knows format 2, which has signatures")
        salt, before = zlib.crc32(data[8:16]), hashlib.sha256(data[:PREAMBLE]).digest()
        at, due, keyed = PREAMBLE, 0, False
        while at < len(data):
            if self.state != CHECKPOINT:
                raise Wrong(at, "something follows the seal that closes the recording")
            if not data[at : at + 4] == b"ILRB"[: len(data) - at]:
                raise Wrong(at, "no block begins here")
            if len(data) - at < HEAD.size:
                raise Wrong(at, "the file ends inside a block")
            _, checksum, kind, flags, found, length, _, first, span, names = HEAD.unpack_from(data, at)
            block = data[at : at + HEAD.size + length]
            if length > MAX_STORED:
                raise Wrong(at, "a block is longer than any can be")
            if len(block) < HEAD.size + length:
                raise Wrong(at, "the file ends inside a block, or its head is damaged")
            if zlib.crc32(block[8:], salt) != checksum:
                raise Wrong(at, "the checksum is wrong")
            if kind == KEYS and at == PREAMBLE:  # the wrapped key, which may change, is not part of the chain
                keyed, at = True, at + len(block)
                continue
            if found != due:
                raise Wrong(at, f"block {found} where block {due} is due: dropped, swapped or repeated")
            if names != before:
                raise Wrong(at, "the block does not continue what is before it")
            if due == 0 and keyed != bool(flags & KEYED):
                raise Wrong(PREAMBLE, "the block with the wrapped key is missing or foreign")
            if due == 0:
                self.header = header_of(block[HEAD.size :], at)
            if kind == SEALS:
                self.seal(block, at, first + span)
            before, at, due = hashlib.sha256(block).digest(), at + len(block), due + 1
        if self.state == CHECKPOINT:
            raise Wrong(at, f"the recording has no end; the first {self.signed_to} bytes are signed")

    def seal(self, block, at, time):
        payload = block[HEAD.size :]
        self.state, _, _, length = SEAL.unpack_from(payload.ljust(SEAL.size, b"\0"))
        warrant, signature = payload[SEAL.size : SEAL.size + length], payload[SEAL.size + length :]
        if self.state not in (1, 2, 3) or length > MAX_WARRANT or len(warrant) < length:
            raise Wrong(at, "the seal cannot be read")
        if len(signature) not in (0, 64):
            raise Wrong(at, "the seal cannot be read")
        if not signature:
            self.signer = None
            return
        self.warrant = warrant or self.warrant
        said, proof = self.warrant[:-64], self.warrant[-64:]
        by = [key for key in self.keys if is_signed(key, b"interlock-warrant-1", said, proof)]
        says = json.loads(said) if by else {}
        if not by or says["valid_until"] > self.keys[by[0]]:
            raise Wrong(at, "signed with a key of which no given key says whose it is")
        message = uuid.UUID(self.header["sid"]).bytes + struct.pack(">Q", at) + block[8:-64]
        if not is_signed(base64.b64decode(says["key"]), b"interlock-recording-2", message, signature):
            raise Wrong(at, "the signature is wrong")
        if says["cluster"] != self.header["cluster"]:
            raise Wrong(at, "signed in another cluster: " + says["cluster"])
        if says["role"] != "auth" and says["daemon"] != self.header["recorded_by"]:
            raise Wrong(at, f"signed by {says['daemon']}, which has not recorded it")
        try:
            sealed_at = datetime.fromisoformat(self.header["start"].replace("Z", "+00:00"))
            sealed_at = sealed_at.astimezone(timezone.utc) + timedelta(microseconds=time)
        except (ValueError, OverflowError):
            sealed_at = None
        if sealed_at is not None and sealed_at.timestamp() >= says["valid_until"]:
            raise Wrong(at, "signed with a key that was not good any more")
        self.signer, self.signed_to = says, at + len(block)


def main(recording, keys):
    with open(keys) as file:
        verifier = Verifier(public_keys(file.read()))
    with open(recording, "rb") as file:
        data = file.read()
    try:
        verifier.file(data)
    except Wrong as wrong:
        print(f"{recording}: {wrong}")
        return 1
    if verifier.signer is None:
        print(f"{recording}: whole, but nobody has signed it")
        return 2
    how = "completed after its recorder died, " if verifier.state == COMPLETED else ""
    signer = verifier.signer
    print(f"{recording}: session {verifier.header['sid']}, {how}signed by {signer['role']} {signer['daemon']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
