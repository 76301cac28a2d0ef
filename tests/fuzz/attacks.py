"""Documents and texts made to break parsers: too deep, too long, twice, overlapping, not finite."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MIB = 1024 * 1024
LONG = 100_000


def tensor_file(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    """Return a tensor file with a header that may be anything."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    n = len(text) if length is None else length
    return n.to_bytes(8, "little") + text + data


def _entry(start: int, end: int, shape: object = None, dtype: str = "U8") -> dict[str, object]:
    return {
        "dtype": dtype,
        "shape": [end - start] if shape is None else shape,
        "data_offsets": [start, end],
    }


JSON: Mapping[str, bytes] = {
    "empty": b"",
    "only space": b" " * 1000,
    "null": b"null",
    "number": b"7",
    "string": b'"text"',
    "list": b"[]",
    "object": b"{}",
    "nan": b'{"format_version":NaN}',
    "infinity": b'{"format_version":Infinity}',
    "float overflow": b'{"format_version":1e999}',
    "tiny float": b'{"format_version":1e-999999999}',
    "float version": b'{"format_version":1.0}',
    "boolean version": b'{"format_version":true}',
    "negative version": b'{"format_version":-1}',
    "later version": b'{"format_version":18446744073709551615}',
    "huge integer": b'{"format_version":' + b"9" * LONG + b"}",
    "huge negative integer": b"-" + b"9" * LONG,
    "huge fraction": b"0." + b"9" * LONG,
    "huge exponent": b"1e" + b"9" * LONG,
    "leading zeros": b"0" * LONG,
    "byte order mark": b"\xef\xbb\xbf{}",
    "utf-16": '{"name":"digits/cat"}'.encode("utf-16"),
    "utf-32": "{}".encode("utf-32"),
    "invalid utf-8": b'{"name":"\xff\xfe"}',
    "overlong utf-8": b'{"name":"\xc0\xaf"}',
    "half a surrogate": b'{"name":"\\ud800"}',
    "half a surrogate as a key": b'{"\\ud800":1}',
    "nul": b'{"name":"\\u0000"}',
    "raw nul": b'{"name":"\x00"}',
    "duplicate keys": b'{"name":"a/b","name":"c/d"}',
    "many duplicate keys": b"{" + b'"a":1,' * LONG + b'"a":1}',
    "nested duplicate keys": b'{"a":{"b":1,"b":2}}',
    "deep lists": b"[" * LONG,
    "deep lists that close": b"[" * LONG + b"]" * LONG,
    "deep objects": b'{"a":' * LONG,
    "deep objects that close": b'{"a":' * LONG + b"1" + b"}" * LONG,
    "as deep as allowed": b"[" * 64 + b"]" * 64,
    "brackets in a string": b'"' + b"[" * LONG + b'"',
    "a string that never ends": b'"' + b"a" * LONG,
    "backslashes that never end": b'"' + b"\\" * LONG,
    "quotes": b'"' * LONG,
    "escapes": b'{"name":"' + b"\\u0041" * LONG + b'"}',
    "a long key": b'{"' + b"k" * LONG + b'":1}',
    "many keys": b"{" + b",".join(b'"%d":0' % i for i in range(20_000)) + b"}",
    "many items": b"[" + b"0," * LONG + b"0]",
    "trailing comma": b'{"a":1,}',
    "two documents": b"{}{}",
    "comment": b"/* */{}",
    "over the limit": b" " * (4 * MIB + 1),
    "pickle": b"\x80\x04cposix\nsystem\n",
    "zip": b"PK\x03\x04" + b"\x00" * 100,
    "gzip": b"\x1f\x8b\x08" + b"\x00" * 100,
}

TENSORS: Mapping[str, bytes] = {
    "no length": b"\x01\x02",
    "length of all ones": b"\xff" * 8,
    "length of 2**63": (2**63).to_bytes(8, "little") + b"{}",
    "length beyond the file": tensor_file(b"{}", length=1000),
    "length above the limit": tensor_file(b"{}", length=8 * MIB + 1),
    "header of 9 MiB": tensor_file(b"{" + b" " * (9 * MIB) + b"}"),
    "header of 8 MiB of spaces": tensor_file(b"{}" + b" " * (8 * MIB - 2)),
    "header of deep lists": tensor_file(b'{"a":' + b"[" * 4_000_000),
    "header is a list": tensor_file([]),
    "header is not json": tensor_file(b"{" * 100),
    "100,001 tensors": tensor_file({f"{i}": _entry(0, 0) for i in range(100_001)}),
    "overlapping": tensor_file({"a": _entry(0, 8), "b": _entry(4, 12)}, bytes(12)),
    "the same bytes twice": tensor_file({"a": _entry(0, 8), "b": _entry(0, 8)}, bytes(8)),
    "a gap": tensor_file({"a": _entry(0, 4), "b": _entry(8, 12)}, bytes(12)),
    "backwards": tensor_file(
        {"a": {"dtype": "U8", "shape": [4], "data_offsets": [4, 0]}}, bytes(4)
    ),
    "negative offset": tensor_file({"a": {"dtype": "U8", "shape": [4], "data_offsets": [-4, 0]}}),
    "offsets beyond the file": tensor_file({"a": _entry(0, 2**62)}),
    "zip of death": tensor_file(
        {f"{i}": _entry(0, 2**40, [2**40]) for i in range(1000)}, bytes(10)
    ),
    "product overflows 64 bits": tensor_file({"a": _entry(0, 0, [2**63, 2**63, 2**63])}),
    "product is nought after an overflow": tensor_file({"a": _entry(0, 0, [2**63, 2**63, 0])}),
    "many dimensions": tensor_file({"a": _entry(0, 1, [1] * 100_000)}, b"\0"),
    "huge dimensions": tensor_file({"a": _entry(0, 1, [2**63] * 32)}, b"\0"),
    "dimension is a float": tensor_file({"a": _entry(0, 1, [1.0])}, b"\0"),
    "dimension is true": tensor_file({"a": _entry(0, 1, [True])}, b"\0"),
    "three offsets": tensor_file({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1, 2]}}),
    "unknown dtype": tensor_file({"a": _entry(0, 1, dtype="F8_E9" * 1000)}, b"\0"),
    "dtype is a list": tensor_file({"a": {"dtype": [], "shape": [], "data_offsets": [0, 1]}}),
    "unknown key": tensor_file({"a": {**_entry(0, 1), "code": "x"}}, b"\0"),
    "metadata is a list": tensor_file({"__metadata__": []}),
    "metadata holds a number": tensor_file({"__metadata__": {"modpm": 1}}),
    "tensor twice": tensor_file(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},' * 2),
    "bytes after the last tensor": tensor_file({"a": _entry(0, 1)}, bytes(1000)),
    "name is a path": tensor_file({"../../etc/passwd": _entry(0, 1)}, b""),
    "pickle inside": tensor_file(b"\x80\x04cposix\nsystem\n"),
}

TOML: Mapping[str, bytes] = {
    "deep arrays": b"a = " + b"[" * LONG,
    "deep arrays that close": b"a = " + b"[" * LONG + b"]" * LONG,
    "deep inline tables": b"a = " + b"{a = " * LONG,
    "a long dotted key": b"a." * 20_000 + b"a = 1",
    "a long dotted table": b"[" + b"a." * 20_000 + b"a]",
    "many dotted tables": b"".join(b"[" + b"a." * 500 + b"k%d]\n" % i for i in range(100)),
    "many tables": b"".join(b"[[modules]]\n" for _ in range(5_000)),
    "a key twice": b"format_version = 1\nformat_version = 1\n",
    "a table twice": b"[a]\n[a]\n",
    "huge integer": b"format_version = " + b"9" * LONG,
    "huge hexadecimal": b"format_version = 0x" + b"f" * LONG,
    "huge octal": b"format_version = 0o" + b"7" * LONG,
    "huge float": b"format_version = " + b"9" * LONG + b".0",
    "underscores": b"format_version = 1" + b"_1" * LONG,
    "infinity": b"format_version = inf",
    "nan": b"format_version = nan",
    "date": b"format_version = 9999-12-31T23:59:60Z",
    "year nought": b"format_version = 0000-00-00",
    "a string that never ends": b'a = """' + b"a" * LONG,
    "quotes": b"a = " + b'"' * LONG,
    "escape beyond unicode": b'a = "\\UFFFFFFFF"',
    "half a surrogate": b'a = "\\ud800"',
    "bare carriage return": b"a = 1\r",
    "invalid utf-8": b'a = "\xff"',
    "byte order mark": b"\xef\xbb\xbfa = 1",
    "traversal": b'requirements = ["../../etc/passwd"]\nformat_version = 1\n',
    "registry of no kind": b'[[registries]]\nname = "x"\nurl = "javascript:alert(1)"\n',
    "registry with a password": b'[[registries]]\nname = "x"\nurl = "https://a:b@c/"\n',
    "requirement bomb": b'requirements = ["a/b' + b">=1," * 20_000 + b'"]\nformat_version = 1\n',
}

TEXT: Mapping[str, str] = {
    "empty": "",
    "space": " ",
    "slash": "/",
    "traversal": "../../etc/passwd",
    "traversal inside": "digits/../cat",
    "absolute": "/etc/passwd",
    "windows": "C:\\windows\\system32",
    "backslash": "digits\\cat",
    "device": "digits/con",
    "hidden": ".digits/.cat",
    "nul": "digits/cat\x00.json",
    "line feed": "digits/cat\n",
    "right-to-left": "digits/\u202etac",
    "full-width": "digits/\uff43at",
    "combining": "digits/cat\u0301",
    "half a surrogate": "digits/\ud800",
    "url": "https://evil.example/digits/cat",
    "percent": "digits/%2e%2e%2fcat",
    "long": "a" * LONG,
    "long name": "digits/" + "a" * LONG,
    "many slashes": "/" * LONG,
    "many separators": "a" + "-_." * LONG + "/b",
    "many specifiers": "digits/cat" + ">=1," * LONG,
    "long version": "1." * LONG + "0",
    "long release": "digits/cat==" + "1." * LONG,
    "huge number": "9" * LONG,
    "huge epoch": "9" * 60 + "!1",
    "unicode digits": "\u0661.\u0662",
    "arbitrary equality": "digits/cat===" + "a" * 1000,
    "wildcard": "digits/cat==1.*.*",
    "star": "*/*",
    "tag is a version": "digits/cat@1.0",
    "two tags": "digits/cat@a@b",
    "tag with a slash": "digits/cat@../../x",
    "marker": "digits/cat; python_version<'3'",
    "direct reference": "digits/cat @ https://evil.example/x.whl",
    "extras": "digits/cat[all]",
    "option": "--registry=x",
    "digest with a line feed": "sha256:" + "0" * 64 + "\n",
    "digest upper": "sha256:" + "A" * 64,
    "digest short": "sha256:00",
    "file url with a host": "file://evil.example/share",
    "file url with a nul": "file:///tmp/%00",
    "bad ipv6": "s3://[::1",
    "bad port": "https://host:99999999/x",
    "tilde of nobody": "~nobody-of-that-name/registry",
}


FAR_OVER: Mapping[str, bytes] = {"spaces": b" " * (65 * MIB), "comment": b"#" * (65 * MIB)}
"""Above the limit of every document."""


def of_kind(kind: str) -> Mapping[str, bytes]:
    """Return the attacks on documents of a kind: `json` or `toml`."""
    return {**JSON, **TOML} if kind == "toml" else JSON
