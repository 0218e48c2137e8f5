"""What operators say of objects of their kinds: a list of them comes in, one answer for each goes out, empty if it is
well. Runs where KServe is installed.
"""

import json
import re
import sys
from typing import Any

import kserve
from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor

PLAIN: dict[str, type] = {"str": str, "int": int, "bool": bool}


def main() -> None:
    print(json.dumps([said(document) for document in json.load(sys.stdin)]))


def said(document: dict[str, Any]) -> str:
    try:
        if document["kind"] == "ServiceMonitor":
            check_monitor(document)
        else:
            check(document, f"V1beta1{document['kind']}")
    except ValueError as error:
        return str(error)
    return ""


def check_monitor(document: dict[str, Any]) -> None:
    """What the model does not know, it drops."""
    known = ServiceMonitor.model_validate(document).model_dump(mode="json", by_alias=True, exclude_none=True)
    if known != document:
        raise ValueError(f"not all of this is known: {document}")


def check(value: Any, kind: str) -> None:
    """Types that are not KServe's own are those of Kubernetes, which has other means to check them."""
    if listed := re.fullmatch(r"list\[(.+)\]", kind):
        for each in value:
            check(each, listed[1])
    elif kind in PLAIN:
        if type(value) is not PLAIN[kind]:
            raise ValueError(f"{value!r} is no {kind}")
    elif model := getattr(kserve, kind, None):
        names = {there: here for here, there in model.attribute_map.items()}
        if unknown := value.keys() - names.keys():
            raise ValueError(f"{kind} has no {min(unknown)}")
        fields = {names[name]: each for name, each in value.items()}
        model(**fields)
        for name, each in fields.items():
            check(each, model.openapi_types[name])


if __name__ == "__main__":
    main()
