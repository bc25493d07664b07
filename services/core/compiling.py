"""Compilation with numba of functions that are also interpreted: one text, two speeds.

Each function is rebuilt with globals in which its callees are the compiled ones; the text that
router and worker interpret is the text that runs compiled.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from types import FunctionType
from typing import Any

# numba takes half a second to import, so that waits until something is compiled.
if find_spec("numba") is None:
    raise ModuleNotFoundError("the simulator needs numba: install alpaserve[planner]", name="numba")


Function = Callable[..., Any]


@cache
def compiled(functions: tuple[Function, ...], num_called: int = 1) -> Any:
    """The last of `functions`, compiled; callees before callers. All but the last `num_called` are
    inlined, which makes a tight loop fast and takes long to compile.

    Releases the GIL. No fast-math: bit for bit what Python computes. Numba keeps the machine code
    on disk under a name that holds the fingerprint of everything compiled, because it would itself
    look for changes in the file of the last function only.
    """
    import numba

    called = functions[-num_called:]
    name = f"{functions[-1].__name__}_{fingerprint(functions)}_{num_called}"
    done: dict[str, Any] = {}
    for function in functions:
        rebuilt = FunctionType(function.__code__, function.__globals__ | done, function.__name__)
        # Nothing here owns an array, and counting references to views costs two thirds of the time.
        options: dict[str, Any] = {"nogil": True, "_nrt": False}
        if function is functions[-1]:
            rebuilt.__qualname__ = name
            options["cache"] = True
        else:
            # Python never calls it.
            options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
            if function not in called:
                options["inline"] = "always"
        done[function.__name__] = numba.njit(**options)(rebuilt)
    return done[functions[-1].__name__]


def fingerprint(functions: Sequence[Any]) -> str:
    """Changes whenever the bytecode of any function does, or a constant that one of them reads."""
    parts = []
    for function in functions:
        code, names = function.__code__, function.__globals__
        constants = {name: names[name] for name in code.co_names if isinstance(names.get(name), int | float | str)}
        parts.append(repr((code.co_code, code.co_consts, code.co_names, code.co_varnames, constants)))
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]
