"""Built pages fetch nothing. Notebooks come with a script that could load Mermaid from elsewhere: it goes.

A hook of mkdocs (`make docs`).
"""

import re
from typing import Any

MERMAID = re.compile(r"<script\b[^>]*>(?:(?!</script>).)*?/mermaid\b(?:(?!</script>).)*</script>", re.DOTALL)
# A browser loads these by itself; a link it only shows.
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=["']?(https?:)?//[^>]*>"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preload|icon|preconnect))[^>]*\bhref=["']?(https?:)?//[^>]*>"""
    r"""|\bimport\(["'](https?:)?//[^)]*\)|@import\b[^;]*//[^;]*;"""
)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """The page without that script.

    Raises:
        ValueError: it would fetch something else, so the build stops.
    """
    kept = MERMAID.sub("", output)
    if found := FETCHED.search(kept):
        raise ValueError(f"{page.file.src_uri} would fetch {found[0]:.200}; a built page must need no network.")
    return kept
