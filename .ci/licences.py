"""Checks each dependency's licence and source against deny.toml, without having to build cargo-deny."""

import json
import re
import subprocess
import sys
import tomllib

with open("deny.toml", "rb") as file:
    allowed = set(tomllib.load(file)["licenses"]["allow"])

metadata = json.loads(
    subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked"], check=True, capture_output=True, text=True
    ).stdout
)


def permitted(expression):
    """Whether an SPDX expression can be satisfied with allowed licences. AND binds tighter than OR."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def either():
        result = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            result = both() or result
        return result

    def both():
        result = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            result = one() and result
        return result

    def one():
        token = tokens.pop(0)
        if token == "(":
            result = either()
            tokens.pop(0)
            return result
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            exception = tokens.pop(0)
            return f"{token} WITH {exception}" in allowed or token in allowed
        return token in allowed

    return either()


wrong = []
for package in metadata["packages"]:
    name = f"{package['name']} {package['version']}"
    source = package["source"]
    if source is not None and not source.startswith("registry+https://github.com/rust-lang/crates.io-index"):
        wrong.append(f"{name}: comes from {source}")
    if not permitted(package.get("license") or "none given"):
        wrong.append(f"{name}: licence {package.get('license')}")
print(f"{len(metadata['packages'])} packages checked")
if wrong:
    sys.exit("not allowed by deny.toml:\n  " + "\n  ".join(wrong))
