"""Judges configuration files by a JSON Schema, as an editor would: schema.json FILE… gives a line for each, ok or bad."""

import json
import sys
import tomllib

import jsonschema

schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
for name in sys.argv[2:]:
    try:
        content = tomllib.load(open(name, "rb"))
    except tomllib.TOMLDecodeError:
        print(name, "unreadable")
        continue
    print(name, "ok" if validator.is_valid(content) else "bad")
