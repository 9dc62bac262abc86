# SPDX-License-Identifier: Apache-2.0
"""Bodies as clients send them, written by hand: OTLP metrics, remote write, snappy."""

import struct

GAUGE, SUM = 5, 7


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number, content):
    """A length-delimited field."""
    if isinstance(content, str):
        content = content.encode()
    return varint(number << 3 | 2) + varint(len(content)) + content


def fixed64(number, value):
    return varint(number << 3 | 1) + struct.pack("<Q", value)


def attributes(number, pairs):
    return b"".join(field(number, field(1, key) + field(2, field(1, value)))
                    for key, value in pairs.items())


def point(value, time_ns, start_ns=0, **labels):
    body = attributes(7, labels)
    if start_ns:
        body += fixed64(2, start_ns)
    body += fixed64(3, time_ns)
    if isinstance(value, int):
        return body + varint(6 << 3 | 1) + struct.pack("<q", value)
    return body + varint(4 << 3 | 1) + struct.pack("<d", value)


def metric(name, points, kind=SUM, monotonic=True):
    data = b"".join(field(1, p) for p in points)
    if kind == SUM:
        data += varint(2 << 3) + varint(2) + varint(3 << 3) + varint(int(monotonic))
    return field(1, name) + field(kind, data)


def request(metrics, **resource):
    """An ExportMetricsServiceRequest of one resource."""
    scope = field(1, field(1, "test")) + b"".join(field(2, m) for m in metrics)
    return field(1, field(1, attributes(1, resource)) + field(2, scope))


def step_request(step, host="db-1", series=3, time_ns=None):
    """As pgweir sends what pgweir-sim answers: a counter with `series` points, and a gauge."""
    now = time_ns or 1_700_000_000_000_000_000 + step * 10_000_000_000
    counters = [point(1000 * step + i, now, 77, table=f"t{i}") for i in range(series)]
    return request([metric("pg.rows", counters),
                    metric("pg.size", [point(1.5, now, db="a")], GAUGE)], host=host)


def labels(pairs):
    return b"".join(field(1, field(1, name) + field(2, value)) for name, value in pairs)


def write_request(series):
    """A remote write WriteRequest of [({label: value}, [(time in ms, value)])]."""
    body = b""
    for pairs, samples in series:
        inner = labels(sorted(pairs.items()))
        for time_ms, value in samples:
            inner += field(2, varint(1 << 3 | 1) + struct.pack("<d", value) + varint(2 << 3) +
                           varint(time_ms))
        body += field(1, inner)
    return body


def snappy_block(data):
    """Literals only: sound, if not small."""
    out = varint(len(data))
    for at in range(0, len(data), 60):
        piece = data[at:at + 60]
        out += bytes([len(piece) - 1 << 2]) + piece
    return out


def _crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF


def snappy_framed(data):
    out = b"\xff\x06\x00\x00sNaPpY"
    for at in range(0, len(data), 50000):
        piece = data[at:at + 50000]
        content = struct.pack("<I", _crc32c(piece)) + snappy_block(piece)
        out += b"\x00" + struct.pack("<I", len(content))[:3] + content
    return out
