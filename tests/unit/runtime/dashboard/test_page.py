"""The page as text."""

import base64
import hashlib
import re

from trimtab.runtime.dashboard.page import page

HOSTILE = "</title><script>alert(1)</script>"


def test_only_its_own_script_and_style_may_run():
    text, policy = page("trimtab")
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = hashlib.sha256(content.encode()).digest()
        wanted = f"{directive} 'sha256-{base64.b64encode(digest).decode()}'"
        assert wanted in policy
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy


def test_it_names_no_other_place():
    text, _ = page("trimtab")
    found = re.findall(r"""(?:https?:)?//[\w.-]+\.\w+[^\s"']*""", text)
    assert set(found) == {"http://www.w3.org/2000/svg"}  # a name, not a place
    assert "innerHTML" not in text


def test_a_title_is_text():
    text, _ = page(HOSTILE)
    assert HOSTILE not in text
    assert "&lt;/title&gt;" in text
