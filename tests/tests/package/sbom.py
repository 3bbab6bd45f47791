"""Validates a bill of materials against CycloneDX' own schema. Arguments: the folder of the schemas, the file."""

import json
import pathlib
import sys

import jsonschema
import referencing

folder = pathlib.Path(sys.argv[1])


def schema(name):
    return json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text())


def resource(uri):
    return referencing.Resource.from_contents(schema(uri.rsplit("/", 1)[1].removesuffix(".SNAPSHOT.schema.json").removesuffix(".schema.json")))


validator = jsonschema.Draft7Validator(schema("bom-1.5"), registry=referencing.Registry(retrieve=resource))
for error in validator.iter_errors(json.load(open(sys.argv[2], encoding="utf-8"))):
    print(f"{error.json_path}: {error.message}"[:300])
