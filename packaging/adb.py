"""The format of apk-tools 3 (`man apk-v3`): a tree of values in one block, then one block for each file's content.

A value is a 32-bit word, the kind in its upper four bits. Short numbers lie in the word, everything else elsewhere in
the block, where the word says. An object is an array whose places have meanings; place 0 holds how many there are.
"""

import struct
import zlib

INT, INT_32, INT_64 = 0x1, 0x2, 0x3
BLOBS = [(0x8, "<B"), (0x9, "<H"), (0xA, "<I")]
ARRAY, OBJECT = 0xD, 0xE
NULL = 0
BLOCK_TREE, BLOCK_DATA = 0, 2
# Version 0, read by readers of version 0; then the word of the root.
HEADER = struct.Struct("<BBHI")


class Tree:
    """Writes values, each once; what they return is the word that stands for them."""

    def __init__(self):
        self.bytes = bytearray(HEADER.size)
        self.written = {}

    def place(self, kind, data, alignment):
        key = (kind, data)
        if key not in self.written:
            self.bytes += bytes(-len(self.bytes) % alignment)
            self.written[key] = kind << 28 | len(self.bytes)
            self.bytes += data
        return self.written[key]

    def number(self, value):
        if value < 1 << 28:
            return INT << 28 | value
        if value < 1 << 32:
            return self.place(INT_32, struct.pack("<I", value), 4)
        return self.place(INT_64, struct.pack("<Q", value), 4)

    def blob(self, value):
        data = value.encode() if isinstance(value, str) else value
        if not data:
            return NULL
        kind, length = BLOBS[(len(data) > 0xFF) + (len(data) > 0xFFFF)]
        return self.place(kind, struct.pack(length, len(data)) + data, struct.calcsize(length))

    def array(self, words):
        return self.places(ARRAY, list(words))

    def object(self, **fields):
        """Fields are called `_1`, `_2`... by their places; those that are not there are null."""
        last = max(int(name[1:]) for name in fields)
        return self.places(OBJECT, [fields.get(f"_{place}", NULL) for place in range(1, last + 1)])

    def places(self, kind, words):
        while words and words[-1] == NULL:
            words.pop()
        if not words:
            return NULL
        return self.place(kind, struct.pack(f"<{len(words) + 1}I", len(words) + 1, *words), 4)

    def finish(self, root):
        HEADER.pack_into(self.bytes, 0, 0, 0, 0, root)
        return self.bytes


def block(kind, data):
    head = struct.pack("<I", kind << 30 | len(data) + 4)
    return head + data + bytes(-(len(data) + 4) % 8)


def package(tree, files):
    """files: (number of the folder, number of the file in it, content), as the tree has them, from 1."""
    made = bytearray(b"ADB.pckg" + block(BLOCK_TREE, bytes(tree)))
    for folder, file, content in files:
        made += block(BLOCK_DATA, struct.pack("<II", folder, file) + content)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9)
    return b"ADBd" + deflate.compress(bytes(made)) + deflate.flush()
