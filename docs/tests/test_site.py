"""The built site is whole: every link leads somewhere, every image shows.

`make docs` builds it into `build/docs` before. One test reads the files; the
other one opens each page in a browser, from a server on the loopback.
"""

import functools
import http.server
import json
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import browser
import pytest

ROOT = Path(__file__).parents[2]
SITE = ROOT / "build" / "docs"
SCREENSHOTS = ROOT / "build" / "screenshots"
PAGES = sorted(
    path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html")
)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# A screenshot is taken of the start, a page from docstrings and a notebook.
SHOWN = {
    "start": "index.html",
    "api": "generated/keras_nfnets.html",
    "notebook": "generated/quickstart.html",
}
# Names of the docstrings that must have become pages with a place to link to.
NAMES = ("keras_nfnets.AGCModel", "keras_nfnets.layers.WSConv2D")
OWN_CHROME = ("chrome:", "data:", "about:", "devtools:")


class Page(HTMLParser):
    """Collects what a page links to, what it loads, and its anchors."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.ids = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if "id" in attributes:
            self.ids.add(attributes["id"])
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if tag in ("img", "script") and attributes.get("src"):
            self.loads.append(attributes["src"])
        if tag == "link" and "stylesheet" in attributes.get("rel", ""):
            self.loads.append(attributes["href"])


@pytest.fixture(scope="module")
def pages():
    assert PAGES, "make docs builds the site first"
    return {name: Page((SITE / name).read_text("utf-8")) for name in PAGES}


def missing(name, target, pages):
    """Whether what a page names is not in the site."""
    address, anchor = urldefrag(target)
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return False
    path = unquote(urlsplit(urljoin(f"http://site/{name}", address)).path)[1:]
    if not (SITE / path).is_file():
        return True
    return bool(anchor) and path in pages and anchor not in pages[path].ids


def test_links_images_and_styles_are_there(pages):
    lost = [
        (name, target)
        for name, page in pages.items()
        for target in page.links + page.loads
        if missing(name, target, pages)
    ]
    assert not lost


def test_pages_load_nothing_from_elsewhere(pages):
    for name, page in pages.items():
        foreign = [url for url in page.loads if urlsplit(url).netloc]
        assert not foreign, name


def test_public_names_have_their_place(pages):
    anchors = set().union(*(page.ids for page in pages.values()))
    assert anchors.issuperset(NAMES)


def test_notebooks_are_pages_with_their_figures(pages):
    assert len(NOTEBOOKS) == 7
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        outputs = [o for cell in cells for o in cell.get("outputs", ())]
        figures = [o for o in outputs if "image/png" in o.get("data", ())]
        loads = pages[f"generated/{path.stem}.html"].loads
        images = [url for url in loads if url.startswith("../_images/")]
        assert len(images) == len(figures), path.stem


def test_a_lost_link_is_found(pages):
    assert missing("index.html", "nowhere.html", pages)
    assert missing("index.html", "why.html#no-such-heading", pages)
    assert not missing("index.html", "why.html", pages)


@pytest.fixture(scope="module")
def address():
    """The site's address, served as any static host does."""
    handler = functools.partial(
        type(
            "Silent",
            (http.server.SimpleHTTPRequestHandler,),
            {"log_message": lambda *_: None},
        ),
        directory=SITE,
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    program = browser.find()
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(browser.NAMES)} is here")
    tab = browser.Browser(program, tmp_path_factory.mktemp("profile"))
    yield tab
    tab.close()


def test_browser_follows_every_link(tab, address):
    seen, wanted, broken = {}, [f"{address}index.html"], []
    while wanted:
        url = wanted.pop()
        if url in seen:
            continue
        seen[url] = look = tab.open(url)
        broken += look["broken"]
        links = (urldefrag(link)[0] for link in look["links"])
        wanted += [
            link
            for link in links
            if link.startswith(address) and link.endswith(".html")
        ]
    assert len(seen) >= 40
    assert not broken
    assert not [url for url in tab.failures if "favicon" not in url]
    assert not [
        url
        for url in tab.requests
        if not url.startswith((address, *OWN_CHROME))
    ]
    assert all(look["title"] for look in seen.values())


def test_screenshots(tab, address):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for name, page in SHOWN.items():
        tab.open(address + page)
        path = SCREENSHOTS / f"{name}.png"
        tab.screenshot(path)
        # An empty page of this size takes some 5 kB.
        assert path.stat().st_size > 20_000
