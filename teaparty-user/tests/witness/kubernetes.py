"""Judges Kubernetes documents strictly by the schemas of several versions: kubernetes.py VERSION…

Reads YAML on standard input and writes the documents as JSON; or, with status 1, a line for each problem on standard error.
"""

import json
import sys

import kubernetes_validate
import yaml

TEXTS = {None: str}
METADATA = {"name": str, "namespace": str, "labels": TEXTS}
# Resources of Prometheus Operator, for which there is no schema: the fields that are used, of its API reference.
CUSTOM = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"): {
        "selector": {"matchLabels": TEXTS},
        "endpoints": [
            {
                "port": str,
                "path": str,
                "scheme": str,
                "interval": str,
                "authorization": {"type": str, "credentials": {"name": str, "key": str}},
                "relabelings": [{"action": str, "sourceLabels": [str], "targetLabel": str, "replacement": str}],
            }
        ],
    },
    ("monitoring.coreos.com/v1", "PrometheusRule"): {
        "groups": [
            {
                "name": str,
                "rules": [{"alert": str, "expr": str, "for": str, "labels": TEXTS, "annotations": TEXTS}],
            }
        ]
    },
}


class Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, as the Kubernetes API does."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"twice: {', '.join(twice)}", node.start_mark)
        return super().construct_mapping(node, deep)


def mismatches(value, shape, path):
    """Yields what of the value is not as the shape has it."""
    if isinstance(shape, dict) and isinstance(value, dict):
        for key, inner in value.items():
            if key in shape or None in shape:
                yield from mismatches(inner, shape.get(key, shape.get(None)), f"{path}.{key}")
            else:
                yield f"{path}.{key}: there is no such field"
    elif isinstance(shape, list) and isinstance(value, list):
        for number, inner in enumerate(value):
            yield from mismatches(inner, shape[0], f"{path}[{number}]")
    elif not (isinstance(shape, type) and isinstance(value, shape)):
        yield f"{path}: is of another type"


def problems(document, versions):
    shape = CUSTOM.get((document["apiVersion"], document["kind"]))
    if shape:
        whole = {"apiVersion": str, "kind": str, "metadata": METADATA, "spec": shape}
        yield from mismatches(document, whole, document["kind"])
        return
    for version in versions:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except Exception as error:
            yield f"{document['kind']} {document['metadata']['name']}, {version}: {(str(error) or repr(error)).splitlines()[0]}"


try:
    documents = [document for document in yaml.load_all(sys.stdin, Loader) if document]
except yaml.YAMLError as error:
    sys.exit(str(error))
found = [problem for document in documents for problem in problems(document, sys.argv[1:])]
if found:
    sys.exit("\n".join(found))
json.dump(documents, sys.stdout)
