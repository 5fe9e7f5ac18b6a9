"""`imdsgate audit report`: one page, looked at in a real browser that cannot reach anything."""

import html.parser
import os
import re
import stat

import browser
import suite as suites
from records import ARM, HOSTILE, STORAGE, VAULT, Log, at, tool

suite = suites.new(seconds=180)
ALLOWED = {"html", "head", "meta", "title", "style", "body", "a", "header", "main", "footer", "nav",
           "section", "h1", "h2", "p", "ul", "li", "dl", "div", "dt", "dd", "figure", "figcaption",
           "svg", "g", "line", "text", "rect", "path", "table", "caption", "thead", "tbody", "tr",
           "th", "td", "time", "details", "summary", "span", "code", "wbr"}
TEXTS = (HOSTILE, "\" onload=\"document.title='pwned'", "' autofocus onfocus='x", "&lt;b&gt;",
         "]]><svg onload=alert(1)>", "\u202egnp.exe", "a\u200bb", "-->", "{{7*7}}",
         "url(http://192.0.2.1/x)", "x" * 1500)


def sample():
    log = Log()
    log.add(0, "agent.started")
    for n in range(300):
        log.token(60 * n, resource=(VAULT, STORAGE)[n % 2])
        log.token(60 * n + 1, pod="web/front-0", account="front", identity="front", resource=ARM,
                  exe="/usr/bin/node")
    for n in range(40):
        log.token(7200 + n, pod="shop/evil-0", account="default", identity=None, decision="deny",
                  exe="/usr/bin/curl")
    log.token(9000, decision="error")
    log.token(9001, exe="/tmp/miner")
    log.token(9002, policy={"namespace": "shop", "name": "watch",
                            "would_deny": "resource_not_allowed"})
    log.lost(9100, 7)
    return log


def hostile():
    log = sample()
    for n, text in enumerate(TEXTS):
        log.token(9500 + n, pod=f"shop/{text.replace('/', '|')}", account=text, identity=text,
                  resource=text, exe=text)
        log.token(9600 + n, identity=text, resource=text, exe=text, decision="deny", reason=text)
        log.add(9700 + n, text, "deny", text, message=text, cgroup={"path": text, "id": "1"})
        log.token(9800 + n, policy={"namespace": text, "name": text, "would_deny": text})
        log.lost(9900 + n, 1, text)
        log.records[-1].update(run=text, node=text)
    return log


def report(desk, log, *args, name="report.html"):
    path = desk.path(name)
    if os.path.exists(path):
        os.unlink(path)
    tool("audit", "report", "--html", path, *args, log.write(desk.path("log.jsonl")))
    return path


class Elements(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.ids = [], set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value for name, value in attrs if name == "id"]


def elements(path):
    parser = Elements()
    with open(path, encoding="utf-8") as file:
        parser.feed(file.read())
    return parser


@suite.test("only elements of ours, nothing that runs, loads or leads away")
def markup(desk):
    for log in (Log(), sample(), hostile()):
        path = report(desk, log)
        parser = elements(path)
        assert set(parser.tags) <= ALLOWED, set(parser.tags) - ALLOWED
        assert not any(name.startswith("on") or name in ("src", "style", "action", "xlink:href")
                       for name in parser.attributes), parser.attributes
        assert len(parser.ids) == len(set(parser.ids)), "an id stands twice"
        with open(path, encoding="utf-8") as file:
            text = file.read()
        assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', text))
        style = text[text.index("<style>"):text.index("</style>")]
        assert "url(" not in style and "@import" not in style and "<script" not in text
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


@suite.test("requests that have no record of their own are told of")
def unrecorded(desk):
    log = sample()
    with open(report(desk, log), encoding="utf-8") as file:
        assert "no record of their own" not in file.read()
    log.token(9990, pod="shop/evil-0", identity=None, decision="deny", count=5001)
    with open(report(desk, log), encoding="utf-8") as file:
        assert "5&#8239;000 more requests have no record of their own" in file.read()


@suite.test("in a browser: the rows, no complaint, nothing loaded")
def rows(desk):
    path = report(desk, sample())
    with browser.Browser() as chromium:
        page = chromium.open(path)
        assert page.requests() == [f"file://{path}"], page.requests()
        count = "document.querySelectorAll('#%s tbody tr').length"
        for table, n in (("matrix-table", 2), ("refused-table", 2), ("watched-table", 1),
                         ("new-table", 4), ("odd-table", 1), ("lost-table", 1)):
            assert page.ask(count % table) == n, (table, page.ask(count % table))
        text = "document.querySelector('%s').innerText"
        assert page.ask(text % "#refused-table tbody tr").split("\t")[:6] == [
            "shop/evil-0", "token.denied", "not_bound", VAULT, "–", "40"]
        assert "/tmp/miner" in page.ask(text % "#odd-table"), page.ask(text % "#odd-table")
        cells = page.ask("[...document.querySelectorAll('#matrix-table tbody td')].map("
                         "c => c.innerText)")
        assert "300" in cells and "152\n1 refused" in cells, cells
        tiles = page.ask("[...document.querySelectorAll('.tiles dd')].map(d => d.innerText)")
        assert [re.sub(r"\D", "", t) for t in tiles] == ["643", "602", "40", "1", "1", "7", "4",
                                                         "1"], tiles
        # a bar for each bucket with a denial; the charts and the table behind them agree
        bars = page.ask("document.querySelectorAll('#chart-refused rect.deny').length")
        denied = page.ask("[...document.querySelectorAll('#over-time-table tbody tr')].filter("
                          "r => r.cells[2].textContent != '0').length")
        assert bars == denied > 0, (bars, denied)
        assert page.ask("[...document.querySelectorAll('#chart-allowed rect')].every("
                        "r => r.getBoundingClientRect().height >= 1)")
        assert page.complaints() == [], page.complaints()


@suite.test("in a browser: it can be read in the light, in the dark, on a phone and on paper")
def looks(desk):
    path = report(desk, sample())
    background = "getComputedStyle(document.body).backgroundColor"
    with browser.Browser() as chromium:
        page = chromium.open(path)
        seen = {}
        for scheme in ("light", "dark"):
            page.emulate(scheme=scheme)
            data = page.screenshot(desk.path(f"{scheme}.png"))
            seen[scheme] = (page.ask(background), data)
            assert data.startswith(b"\x89PNG") and len(data) > 50000, len(data)
        assert seen["light"][0] == "rgb(255, 255, 255)" != seen["dark"][0], seen["dark"][0]
        assert seen["light"][1] != seen["dark"][1]
        page.emulate(width=400)
        assert page.ask("document.documentElement.scrollWidth <= innerWidth"), "wider than a phone"
        assert page.pdf().startswith(b"%PDF")
        assert page.ask("document.querySelectorAll('h1').length") == 1
        assert page.ask("[...document.querySelectorAll('table')].every(t => t.caption && "
                        "t.querySelectorAll('th[scope]').length)")
        assert page.ask("[...document.querySelectorAll('svg')].every(s => "
                        "s.getAttribute('role') == 'img' && s.getAttribute('aria-label'))")
        assert page.ask("document.documentElement.lang") == "en"
        assert page.complaints() == [], page.complaints()


@suite.test("in a browser: a hostile log runs nothing, and is shown as what it is")
def hostile_log(desk):
    path = report(desk, hostile(), "--top", "1000")
    with browser.Browser() as chromium:
        page = chromium.open(path)
        assert page.ask("document.title") == "imdsgate audit report", page.ask("document.title")
        assert page.ask("document.querySelectorAll('script,img,iframe,object,b').length") == 0
        assert page.requests() == [f"file://{path}"], page.requests()
        assert page.complaints() == [], page.complaints()
        shown = page.ask("document.querySelector('#new-table').textContent")
        for text in TEXTS[:5] + TEXTS[7:10]:
            assert text in shown, text
        assert "\\u202egnp.exe" in shown and "a\\u200bb" in shown
        assert "\u202e" not in shown and "x" * 400 + "…" in shown and "x" * 401 not in shown
        # and should markup ever get through, the page's policy stops it
        page.ask("document.body.insertAdjacentHTML('beforeend', `<img src=\"http://192.0.2.1/\" "
                 "onerror=\"document.title='pwned'\"><p style=\"color:red\">`)")
        assert page.ask("document.title") == "imdsgate audit report"
        assert any("Content Security Policy" in str(c) for c in page.complaints())


@suite.test("a baseline, and what is before --since, is not new")
def baseline(desk):
    before = Log()
    before.token(-500)
    before.token(-400, pod="web/front-0", account="front", identity="front", resource=ARM,
                 exe="/usr/bin/node")
    path = before.write(desk.path("before.jsonl"))

    def found(*args):
        out = tool("--json", "audit", "report", "--html", desk.path("r.html"), *args,
                   sample().write(desk.path("log.jsonl"))).json()
        return out["first_seen"], out["unusual_programs"]

    # cart/storage and the miner are new; /tmp/miner is rare in any case
    assert found() == (4, 1), found()
    assert found("--baseline", path) == (2, 1), found("--baseline", path)
    assert found("--since", at(8000)) == (1, 1), found("--since", at(8000))
    (path_html, log) = (desk.path("r.html"), Log())
    log.token(0)
    log.token(1, exe="/usr/bin/perl")
    out = tool("--json", "audit", "report", "--html", path_html, "--baseline", path,
               log.write(desk.path("few.jsonl"))).json()
    assert out["unusual_programs"] == 1, out
    with open(path_html, encoding="utf-8") as file:
        assert "not seen before" in file.read()


@suite.test("standard output, wrong usage, files that cannot be written")
def usage(desk):
    log = sample()
    assert tool("audit", "report", "--html", "-", stdin=log.text()).startswith("<!DOCTYPE html>")
    tool("audit", "report", status=2)
    tool("audit", "report", "--html", "x", "--top", "0", status=2)
    tool("--json", "audit", "report", "--html", "-", status=2)
    output = tool("audit", "report", "--html", desk.path("d", "x") + "/y", stdin="", status=1)
    assert "cannot be written" in output.err, output.err
    output = tool("audit", "report", "--html", "/dev/full", stdin=log.text(), status=1)
    assert "No space left" in output.err, output.err


if __name__ == "__main__":
    suite.run()
