"""Validates TOML files against a JSON schema, by the library that most programs in Python use for that.

Arguments: the schema, then files. Prints for each file its mistakes, one a line: FILE, a tabulator, what is wrong."""

import json
import sys
import tomllib

import jsonschema

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
validator = jsonschema.validators.validator_for(schema)
assert validator is jsonschema.Draft7Validator, validator
validator.check_schema(schema)
for name in sys.argv[2:]:
    with open(name, "rb") as file:
        document = tomllib.load(file)
    for error in validator(schema).iter_errors(document):
        print(f"{name}\t{error.json_path}: {error.message}"[:300].replace("\n", " "))
