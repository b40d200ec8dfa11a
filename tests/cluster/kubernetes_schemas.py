"""What Kubernetes and the Dask operator would say of a manifest, without either.

Core kinds are checked with Kubernetes' own schemas. Those of the operator's kinds are
in the definitions that the installed dask-kubernetes hands to Kubernetes; there a field
that nobody knows is dropped in silence, here it is an error.
"""

import functools
import importlib.util
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

GROUP = "kubernetes.dask.org/"
DEFINITIONS = "operator/deployment/helm/dask-kubernetes-operator/crds"


def documents_of(path):
    """Return the manifests in a file."""
    return list(yaml.safe_load_all(Path(path).read_text(encoding="utf-8")))


def check(document):
    """Raise an error that names the first field that is wrong."""
    version, kind = document["apiVersion"], document["kind"]
    if version.startswith(GROUP):
        spec = {name: document[name] for name in document if name not in TOP}
        jsonschema.validate(spec, definition_of(kind, version.removeprefix(GROUP)))
        assert document["metadata"]["name"]
        return
    newest = kubernetes_validate.latest_version()
    kubernetes_validate.validate(document, newest, strict=True)


TOP = ("apiVersion", "kind", "metadata")


@functools.cache
def definition_of(kind, version):
    """Return the schema of one of the operator's kinds, closed to unknown fields."""
    package = importlib.util.find_spec("dask_kubernetes").submodule_search_locations[0]
    file = Path(package) / DEFINITIONS / f"{kind.lower()}.yaml"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    definition = yaml.load(file.read_text(encoding="utf-8"), loader)
    (schema,) = [
        served["schema"]["openAPIV3Schema"]
        for served in definition["spec"]["versions"]
        if served["name"] == version
    ]
    return closed(schema)


def closed(schema):
    """Return Kubernetes' dialect of JSON schema as the standard's, without extras."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    result = {
        name: {key: closed(part) for key, part in value.items()}
        if name == "properties"
        else closed(value)
        for name, value in schema.items()
    }
    is_open = schema.get("x-kubernetes-preserve-unknown-fields")
    if "properties" in schema and not is_open:
        result.setdefault("additionalProperties", False)
    return result


def patched(document, patch):
    """Return a document with a merge patch (RFC 7386), as kustomize applies it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = patched(result.get(name), value)
    return result
