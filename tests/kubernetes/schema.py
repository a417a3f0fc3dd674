# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Objects of Kubernetes against the schema of its API, strictly: what the API server refuses is refused here.

The schema is read from the classes of python3-kubernetes, which are generated from the API's OpenAPI document: fields and
their types, which are required, and which values a field may have. Their source is read, not imported: no library of
theirs is needed.
"""
import ast
import os
import re

MODELS = "root/usr/lib/python3/dist-packages/kubernetes/client/models"
SCALARS = {"str": str, "int": int, "float": (int, float), "bool": bool, "datetime": str}


class Schema:
    def __init__(self, where):
        self.directory, self.sources, self.classes = os.path.join(where, MODELS), {}, {}
        for name in os.listdir(self.directory):
            with open(os.path.join(self.directory, name), encoding="utf-8") as file:
                text = file.read()
            for found in re.findall(r"^class (\w+)\(object\)", text, re.M):
                self.sources[found] = text

    def load(self, name):
        """{JSON key: (type, required, allowed values or None)}"""
        if name not in self.classes:
            self.classes[name] = read_class(self.sources[name])
        return self.classes[name]

    def errors(self, item):
        """Sentences; empty: the object is right."""
        group, _, version = item.get("apiVersion", "").rpartition("/")
        name = version[:1].upper() + version[1:] + item.get("kind", "")
        if name not in self.sources:
            return ["%s, kind %s: the API has no such kind" % (item.get("apiVersion"), item.get("kind"))]
        found = self.check(item, name, item["kind"])
        if not found and name == "V1CustomResourceDefinition":
            found = crd_errors(item)
        if group == "" and "/" in item["apiVersion"]:
            found.append("apiVersion %s" % item["apiVersion"])
        return found

    def check(self, value, kind, where):
        if value is None:
            return []
        if kind.startswith("list["):
            if not isinstance(value, list):
                return ["%s: a list is needed" % where]
            return [error for number, item in enumerate(value) for error in self.check(item, kind[5:-1], "%s[%d]" % (where, number))]
        if kind.startswith("dict("):
            if not isinstance(value, dict):
                return ["%s: a map is needed" % where]
            inner = kind[5:-1].split(", ", 1)[1]
            return [error for key, item in value.items() for error in self.check(item, inner, "%s.%s" % (where, key))]
        if kind == "object":
            return []
        if kind in SCALARS:
            right = isinstance(value, SCALARS[kind]) and (kind == "bool" or not isinstance(value, bool))
            return [] if right else ["%s: %r is no %s" % (where, value, kind)]
        return self.check_class(value, kind, where)

    def check_class(self, value, kind, where):
        if not isinstance(value, dict):
            return ["%s: a map is needed" % where]
        fields = self.load(kind)
        found = ["%s: there is no field %s" % (where, key) for key in value if key not in fields]
        for key, (inner, required, allowed) in fields.items():
            if value.get(key) is None:
                found += ["%s: %s is missing" % (where, key)] if required else []
                continue
            found += self.check(value[key], inner, where + "." + key)
            if allowed and value[key] not in allowed:
                found.append("%s.%s: %r is none of %s" % (where, key, value[key], ", ".join(allowed)))
        return found


def read_class(text):
    literals = {}
    for name in ("openapi_types", "attribute_map"):
        literals[name] = ast.literal_eval(re.search(r"^    %s = (\{.*?^    \})" % name, text, re.M | re.S).group(1))
    required = set(re.findall(r'Invalid value for `(\w+)`, must not be `None`', text))
    allowed = {name: ast.literal_eval(values) for values, name in
               re.findall(r"allowed_values = (\[.*?\]).*?\n.*?if .*? (\w+) not in allowed_values", text)}
    return {key: (literals["openapi_types"][name], name in required, allowed.get(name))
            for name, key in literals["attribute_map"].items()}


# --- custom resources ---

def structural_errors(schema, where):
    """What "structural" means: every place has a type, and what is under it is told in one way."""
    loose = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    found = [] if schema.get("type") or loose else ["%s: no type" % where]
    kind, extra = schema.get("type"), schema.get("additionalProperties")
    if schema.get("properties") and extra:
        found.append("%s: properties and additionalProperties" % where)
    if kind == "array" and not isinstance(schema.get("items"), dict):
        found.append("%s: an array without items" % where)
    for word in ("$ref", "definitions", "dependencies", "patternProperties", "id"):
        if word in schema:
            found.append("%s: %s is not allowed" % (where, word))
    if schema.get("uniqueItems"):
        found.append("%s: uniqueItems is not allowed" % where)
    missing = [name for name in schema.get("required", []) if name not in schema.get("properties", {})]
    found += ["%s: %s is required, and no property" % (where, name) for name in missing]
    for name, inner in schema.get("properties", {}).items():
        found += structural_errors(inner, "%s.%s" % (where, name))
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            found += structural_errors(schema[word], where + "[]")
    return found


def leads_somewhere(schema, path):
    if path.startswith(".metadata."):
        return True
    # .conditions[?(@.type=="Accepted")].status: what is between the brackets chooses entries of a list.
    for name in re.sub(r"\[[^]]*\]", "[]", path).lstrip(".").split("."):
        schema = schema.get("properties", {}).get(name.removesuffix("[]"))
        if schema is not None and name.endswith("[]"):
            schema = schema.get("items")
        if schema is None:
            return False
    return True


def crd_errors(item):
    spec = item["spec"]
    found = []
    if item["metadata"]["name"] != "%s.%s" % (spec["names"]["plural"], spec["group"]):
        found.append("metadata.name is not %s.%s" % (spec["names"]["plural"], spec["group"]))
    if sum(bool(version["storage"]) for version in spec["versions"]) != 1:
        found.append("spec.versions: one is stored, not more or less")
    for version in spec["versions"]:
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if not schema:
            found.append("%s: no schema" % version["name"])
            continue
        found += structural_errors(schema, version["name"])
        found += ["column %s: %s leads nowhere" % (column["name"], column["jsonPath"])
                  for column in version.get("additionalPrinterColumns", []) if not leads_somewhere(schema, column["jsonPath"])]
    return found
