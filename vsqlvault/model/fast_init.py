"""A cheaper ``__init__`` for frozen dataclasses with many fields, which are made on every request."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, TypeVar

Value = TypeVar("Value")
_set = object.__setattr__


def fast_init(cls: type[Value]) -> type[Value]:
    """Replace the ``__init__`` of a frozen dataclass with slots. Assignment to a field still raises.

    The dataclass's own ``__init__`` calls ``object.__setattr__`` for each field. This one makes the object an instance of an
    unfrozen twin class with the same slots, assigns the fields, and makes it an instance of ``cls`` again.
    """
    twin = type(f"_{cls.__name__}Twin", (), {"__slots__": cls.__dict__["__slots__"]})
    parameters, names = ["self"], [field.name for field in fields(cls)]  # type: ignore[arg-type]
    scope: dict[str, Any] = {"_set": _set, "_twin": twin, "_cls": cls}
    is_keyword_only = False
    for field in fields(cls):  # type: ignore[arg-type]
        if field.default_factory is not MISSING or not field.init or hasattr(cls, "__post_init__"):
            raise TypeError(f"{cls.__name__}.{field.name}: only plain fields with plain defaults")
        if field.kw_only and not is_keyword_only:
            is_keyword_only = True
            parameters.append("*")
        if field.default is MISSING:
            parameters.append(field.name)
        else:
            scope[f"_default_{field.name}"] = field.default
            parameters.append(f"{field.name}=_default_{field.name}")
    body = "".join(f"    self.{name} = {name}\n" for name in names)
    source = (
        f"def __init__({', '.join(parameters)}):\n    _set(self, '__class__', _twin)\n{body}    self.__class__ = _cls\n"
    )
    exec(source, scope)  # noqa: S102 - the names are those of the fields
    setattr(cls, "__init__", scope["__init__"])  # noqa: B010 - a type checker forbids the assignment
    return cls
