"""How the documents are built: strictly, from Markdown."""

from __future__ import annotations

project = "qcore"
author = "the qcore authors"
copyright = "2026, the qcore authors"

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
#: `#section` links within and between pages
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "qcore"
