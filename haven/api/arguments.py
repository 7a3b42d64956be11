"""Query parameters of what is not a list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from marshmallow import ValidationError
from werkzeug.datastructures import MultiDict

from haven.errors import Fault, Invalid


def read_arguments(
    arguments: MultiDict[str, str], readers: Mapping[str, Callable[[str], Any]]
) -> dict[str, Any]:
    """Parameter → value.

    Raises:
        Invalid: naming each parameter that is unknown, repeated or wrong.
    """
    faults, found = [], {}
    for name in arguments:
        texts = arguments.getlist(name)
        if name not in readers:
            faults.append(Fault(name, f"is not a parameter of this; it has {', '.join(readers)}"))
        elif len(texts) > 1:
            faults.append(Fault(name, "is given more than once"))
        else:
            try:
                found[name] = readers[name](texts[0])
            except ValidationError as error:
                faults.append(Fault(name, str(error.messages[0])))
            except Invalid as error:
                faults += error.faults
    if faults:
        raise Invalid(f"{faults[0].pointer}: {faults[0].detail}", faults=tuple(faults))
    return found
