"""Settings of Sphinx, which builds the documentation site from these pages: `make docs`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from orchestrator import __version__

project = "gpujob"
copyright = "gpujob contributors"
version = release = __version__
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = ["_build"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
html_theme = "furo"
html_title = "gpujob"
html_copy_source = False
html_show_sphinx = False
nitpicky = True
