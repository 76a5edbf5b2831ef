"""Finds the modules of a site that declare tasks."""

from __future__ import annotations

from django.apps import apps
from django.utils.module_loading import module_has_submodule

from qcore.user_modules import import_user_module


def autodiscover(module: str = "tasks") -> list[str]:
    """Import the module of this name of each installed app that has one; return their dotted names.

    Raises:
        ModuleFailed: one of them cannot be imported; the message names file and line.

    """
    found = [
        f"{one.name}.{module}"
        for one in apps.get_app_configs()
        if one.module is not None and module_has_submodule(one.module, module)
    ]
    for name in found:
        import_user_module(name)
    return found
