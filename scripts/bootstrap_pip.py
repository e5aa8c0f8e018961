"""Install pip into the running virtual environment from its own wheel, where ensurepip is missing.

Reads the package index that pip itself would use: PIP_INDEX_URL, else PyPI.
"""

import hashlib
import html.parser
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path


class _Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.links = []

    def handle_starttag(self, tag, attrs):
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href"]


def main():
    """Fetch the newest pip wheel, check its hash, let it install itself."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/pip/"
    with urllib.request.urlopen(index, timeout=60) as reply:
        page = reply.read().decode()
    parser = _Links()
    parser.feed(page)
    wheels = []
    for link in parser.links:
        match = re.search(r"/pip-(\d+(?:\.\d+)*)-py3-none-any\.whl", link)
        if match:
            wheels.append((tuple(map(int, match[1].split("."))), urllib.parse.urljoin(index, link)))
    if not wheels:
        sys.exit(f"bootstrap_pip: no pip wheel at {index}; install python3-venv instead")
    url, _, fragment = max(wheels)[1].partition("#")
    with urllib.request.urlopen(url, timeout=300) as reply:
        wheel = reply.read()
    if fragment.startswith("sha256=") and hashlib.sha256(wheel).hexdigest() != fragment[7:]:
        sys.exit(f"bootstrap_pip: {url} does not have the hash that the index states")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, url.rsplit("/", 1)[1])
        path.write_bytes(wheel)
        subprocess.run([sys.executable, f"{path}/pip", "install", "--quiet", str(path)], check=True)


if __name__ == "__main__":
    main()
