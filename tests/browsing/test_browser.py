"""Pages in a real browser: Debian's Chromium."""

from __future__ import annotations

import json
import os
import shutil
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import msgspec
import pytest
import uvicorn
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from tests.browsing.conftest import listing_of, listing_of_folder
from tests.browsing.test_pages import HOSTILE_README
from tests.estimating.machines import made_up

from modpm.browsing import words
from modpm.browsing.export import export
from modpm.browsing.listing import Listing
from modpm.browsing.scoring import Scorer
from modpm.browsing.server import LOOPBACK, application, bound
from modpm.core.errors import ModpmError
from modpm.core.estimating.machine import keep_machine
from modpm.registry.backends.shards import Entry, Shard
from modpm.registry.installing.installation import install

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from tests.browsing.conftest import Make

    from modpm.core.formats.manifest import Manifest
    from modpm.core.formats.names import ModuleName
    from modpm.registry.backends.protocol import ReleaseFile
    from modpm.registry.index import Index

REQUIRED = "MODPM_REQUIRE_SERVERS"
PATIENCE_SECONDS = 30
SERIOUS = {"serious", "critical"}
ORIGIN = f"o/{'a' * 64}.html"
PAGES = ("", "m/digits/7.html", ORIGIN, "basket.html")


class Browser:
    """A browser, and what its tests do with it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self.axe = (
            files("axe_selenium_python") / "node_modules" / "axe-core" / "axe.min.js"
        ).read_text(encoding="utf-8")

    def look(self, width: int = 1280, theme: str = "light") -> None:
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def get(self, address: str) -> None:
        self.driver.get(address)

    def run(self, script: str) -> Any:  # noqa: ANN401 -- whatever the page gives
        return self.driver.execute_script(script)

    def find(self, selector: str) -> Any:  # noqa: ANN401 -- Selenium's element
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return str(self.find(selector).text)

    def names(self) -> list[str]:
        script = "return [...document.querySelectorAll('[data-rows] [data-tick]')]"
        return list(self.run(f"{script}.map((one) => one.dataset.tick)"))

    def wait(self, is_so: Callable[[], object]) -> None:
        WebDriverWait(self.driver, PATIENCE_SECONDS, 0.05).until(lambda _: is_so())

    def wait_for(self, names: list[str]) -> None:
        self.wait(lambda: self.names() == names)

    def type(self, *keys: str) -> None:
        self.driver.switch_to.active_element.send_keys(*keys)

    def scrolls_sideways(self) -> bool:
        """Return whether the page does once it is laid out, a moment after it has loaded."""
        root = "document.documentElement"
        fits = f"return {root}.scrollWidth <= {root}.clientWidth"
        try:
            self.wait(lambda: self.run(fits))
        except TimeoutException:
            return True
        return False

    def serious(self) -> list[str]:
        """Return what axe-core finds that hinders somebody."""
        self.run(self.axe)
        found = self.driver.execute_async_script(
            "axe.run().then(arguments[0], (error) => arguments[0]({violations: [String(error)]}))"
        )
        return [
            f"{one['id']}: {one['nodes'][0]['html']}"
            for one in found["violations"]
            if one["impact"] in SERIOUS
        ]

    def complaints(self) -> list[str]:
        """Return what the browser says of the page: errors, and what a policy kept from it."""
        return [str(line["message"]) for line in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]  # Selenium's


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    programs = [shutil.which("chromium"), shutil.which("chromedriver")]
    if None in programs:
        if os.environ.get(REQUIRED) == "1":
            pytest.fail("chromium or chromedriver is not installed")
        pytest.skip("chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0] or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(programs[1]))
    yield started
    started.quit()


@pytest.fixture
def browser(driver: webdriver.Chrome) -> Iterator[Browser]:
    browser = Browser(driver)
    browser.look()
    yield browser
    browser.complaints()
    driver.get("about:blank")


@contextmanager
def serving(listing: Listing, project: Path) -> Iterator[str]:
    """Serve pages as `modpm browse` does; give their address."""
    with bound(0) as listener:
        app = application(listing, Scorer(project))
        config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{listener.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- its name
        """Say nothing."""


@contextmanager
def files_served(folder: Path) -> Iterator[str]:
    """Serve files as any web server does."""
    server = ThreadingHTTPServer((LOOPBACK, 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(params=["server", "files"])
def pages(
    request: pytest.FixtureRequest, registry: Path, project: Path, tmp_path: Path
) -> Iterator[str]:
    """Give the address of pages of a registry, answered by the server and written as files."""
    listing = listing_of(registry)
    if request.param == "server":
        with serving(listing, project) as address:
            yield address
        return
    export(listing, tmp_path / "site", lambda _: None)
    with files_served(tmp_path / "site") as address:
        yield address


def test_the_list_follows_what_is_typed_and_chosen(browser: Browser, pages: str) -> None:
    browser.get(pages)
    assert browser.names() == ["digits/7", "digits/8", "pets/pair"]
    search = browser.find("input[type=search]")

    search.send_keys("SEVEN")
    browser.wait(lambda: browser.names() == ["digits/7", "pets/pair"])
    search.send_keys(" better")
    browser.wait(lambda: browser.names() == ["digits/7"])
    assert browser.text("[data-found]") == "1 module"
    assert browser.driver.current_url.endswith("?q=SEVEN+better")
    search.send_keys("x")
    browser.wait(lambda: browser.find("[data-empty]").is_displayed())
    search.clear()
    search.send_keys(" ")
    browser.wait(lambda: len(browser.names()) == 3)

    browser.find("summary").click()
    for name, value, found in (
        ("license", "CC0-1.0", ["digits/8"]),
        ("class", "7", ["digits/7", "pets/pair"]),
        ("namespace", "pets", ["pets/pair"]),
        ("min_recall", "0.6", ["digits/7", "pets/pair"]),
        ("max_mb", "0.001", []),
        ("origin", f"sha256:{'a' * 64}", ["digits/7", "digits/8", "pets/pair"]),
        ("signer", "none", ["digits/7", "digits/8", "pets/pair"]),
        ("sort", "recall", ["digits/7", "pets/pair", "digits/8"]),
    ):
        field = browser.find(f"[name={name}]")
        if field.tag_name == "select":
            browser.find(f"[name={name}] option[value='{value}']").click()
        else:
            field.send_keys(value)
        browser.wait_for(found)
        browser.find("button[type=reset]").click()
        browser.wait(lambda: len(browser.names()) == 3)
    assert browser.complaints() == []


def test_an_address_of_a_search_shows_what_was_found(browser: Browser, pages: str) -> None:
    browser.get(f"{pages}index.html?q=seven&license=Apache-2.0&sort=recall")

    browser.wait(lambda: browser.names() == ["digits/7", "pets/pair"])
    assert browser.find("[name=license]").get_attribute("value") == "Apache-2.0"
    assert browser.find("[name=sort]").get_attribute("value") == "recall"
    assert browser.find("details").get_attribute("open")


def test_the_basket_adds_up_what_was_ticked(browser: Browser, pages: str, registry: Path) -> None:
    browser.get(pages)
    browser.run("localStorage.clear()")
    for name in ("digits/7", "digits/8", "pets/pair"):
        browser.find(f"[data-tick='{name}']").click()
    assert browser.text("[data-count]") == "3"

    browser.get(f"{pages}basket.html")
    browser.wait(lambda: browser.text("[data-sum=macs]") == "3.5 k")

    newest = ("digits/7/1.1.0", "digits/8/1.0.0", "pets/pair/1.0.0")
    once = {file.read_bytes() for one in newest for file in (registry / one).iterdir()}
    assert browser.text("[data-sum=size]") == words.size(sum(map(len, once)))
    assert browser.text("[data-sum=tensors]") == "372 bytes"
    if browser.run("return document.querySelector('[data-sum=time]') !== null"):  # not in files
        assert browser.text("[data-sum=time]") == "not known"
    assert browser.text("[data-sum=classes]") == "2"
    assert browser.text("[data-sum=licenses]") == "Apache-2.0, CC0-1.0"
    assert browser.text("[data-sum=data]") == "digits"
    assert "at most" in browser.text("[data-sum=sharing]")
    both = "digits/7 and pets/pair both recognize digits/7"
    assert both in browser.text("[data-conflicts]").replace(" all ", " both ")
    names = "digits/7 digits/8 pets/pair"
    line = browser.text("[data-line]")
    assert line.startswith(f"modpm install {names} --registry /")
    assert line.endswith(f" && modpm compose {names} -o classifier")
    browser.find("[data-items] li:nth-child(3) button").click()
    browser.wait(lambda: browser.text("[data-count]") == "2")
    browser.wait(lambda: not browser.find("[data-conflicts]").text)
    browser.get(f"{pages}m/digits/7.html")
    assert browser.find("[data-tick]").is_selected()
    browser.find("[data-tick]").click()
    assert browser.text("[data-count]") == "1"
    assert browser.complaints() == []


def test_the_basket_adds_up_the_time_of_an_image(
    browser: Browser, registry: Path, project: Path
) -> None:
    keep_machine(made_up(start=1e-3))
    with serving(listing_of(registry), project) as address:
        browser.get(address)
        browser.run("localStorage.clear()")
        for name in ("digits/7", "digits/8"):
            browser.find(f"[data-tick='{name}']").click()
        browser.get(f"{address}basket.html")
        browser.wait(lambda: browser.text("[data-sum=time]").endswith(" ms"))
        one, two = (estimate_of(address, name) for name in ("digits/7", "digits/8"))
        shown = float(browser.text("[data-sum=time]").removesuffix(" ms"))
        assert shown == pytest.approx(one + two, rel=0.05)  # to two digits
        assert browser.complaints() == []


def estimate_of(address: str, name: str) -> float:
    with urlopen(f"{address}m/{name}.json") as answer:  # noqa: S310 -- this machine's
        return float(json.load(answer)["milliseconds"])


def test_modules_that_read_different_images_are_told_of(
    browser: Browser, make: Make, dist: Path, golden: Manifest, project: Path
) -> None:
    make("digits/7")
    larger = msgspec.structs.replace(golden.input, height=16, width=16)
    graph = msgspec.structs.replace(golden.graph, input_shape=(1, 16, 16))
    make("digits/8", label="digits/8", input=larger, graph=graph)
    with serving(listing_of_folder(dist), project) as pages:
        browser.get(pages)
        for name in ("digits/7", "digits/8"):
            browser.find(f"[data-tick='{name}']").click()
        browser.get(f"{pages}basket.html")
        browser.wait(lambda: "different kinds of images" in browser.text("[data-conflicts]"))


def test_rows_that_are_found_again_keep_the_focus(browser: Browser, pages: str) -> None:
    browser.get(pages)
    browser.wait(browser.names)
    seen_again = """
        const box = document.querySelector("[data-rows] [data-tick]"), done = arguments[0];
        box.focus();
        document.querySelector("form.search").requestSubmit();
        setTimeout(() => done(document.activeElement === box && box.isConnected), 500);
    """
    assert browser.driver.execute_async_script(seen_again)


def test_everything_is_reached_by_the_keyboard(browser: Browser, pages: str) -> None:
    browser.get(pages)
    browser.run("localStorage.clear()")
    browser.type(Keys.TAB)
    assert browser.driver.switch_to.active_element.text == "Skip to the content"
    browser.type(Keys.ENTER, Keys.TAB)
    active = "return document.activeElement"
    assert browser.run(f"{active}.name") == "q"
    assert browser.run(f"return getComputedStyle({active[7:]}).outlineStyle") != "none"
    browser.type("loops")
    browser.wait(lambda: browser.names() == ["digits/8"])
    browser.type(Keys.TAB)
    for _ in range(4):
        if browser.run(f"{active}.dataset.tick"):
            break
        browser.type(Keys.TAB)
    browser.type(Keys.SPACE)
    assert browser.text("[data-count]") == "1"
    browser.type(Keys.TAB, Keys.ENTER)
    browser.wait(lambda: browser.driver.current_url.endswith("/m/digits/8.html"))
    browser.wait(lambda: browser.find("[data-tick]").is_selected())


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\u202e" + "w" * 300
HUGE = HOSTILE_README + "\n| a | b |\n|---|---|\n" + f"| {'x' * 500} | y |\n" * 300


def test_what_strangers_wrote_does_nothing_and_fits(
    browser: Browser, make: Make, dist: Path, project: Path
) -> None:
    make(f"{'n' * 64}/{'m' * 64}", summary=HOSTILE, readme=HUGE, authors=[HOSTILE])
    make("digits/7", label=f"digits/{'w' * 190}<b>", summary=HOSTILE)
    with serving(listing_of_folder(dist), project) as pages:
        browser.look(360)
        browser.get(pages)
        browser.run("localStorage.clear()")
        for box in browser.driver.find_elements(By.CSS_SELECTOR, "[data-rows] [data-tick]"):
            box.click()
        for page in (*PAGES, f"m/{'n' * 64}/{'m' * 64}.html"):
            browser.get(pages + page)
            if page == "basket.html":
                browser.wait(lambda: browser.find("[data-items] a"))
            assert not browser.scrolls_sideways(), page
            scripts = (
                "return document.querySelectorAll('main script, main img, main iframe').length"
            )
            assert browser.run(scripts) == 0
            assert "\u202e" not in browser.text("main")
        assert browser.complaints() == []


class Many:
    """A shelf of ten thousand modules."""

    location = "many"

    def catalogue(self, namespace: str | None, seen: Mapping[str, str]) -> list[Shard]:
        assert namespace is None
        assert not seen
        entries: dict[str, Entry | None] = {
            f"module-{i:05}": Entry(
                version="1.0.0",
                digest=f"sha256:{i:064x}",
                kind="module",
                labels=[f"many/class {i}"],
                summary=f"The module of number {i}",
                license="MIT",
                size_bytes=10_000 - i,
            )
            for i in range(10_000)
        }
        return [Shard("many", "many", "1", entries)]

    def index(self, module: ModuleName) -> Index | None:
        raise ModpmError(f"{module}", code="unknown-module")

    def open_file(self, file: ReleaseFile) -> BinaryIO:
        raise ModpmError(str(file), code="unknown-module")


def test_ten_thousand_modules_are_looked_through_page_by_page(
    browser: Browser, project: Path
) -> None:
    with serving(Listing(Many(), "folder"), project) as pages:
        browser.get(pages)
        assert len(browser.names()) == 50
        assert browser.text("[data-found]") == "10,000 modules or more"

        browser.find("[data-go='1']").click()
        browser.wait(lambda: browser.names()[0] == "many/module-00050")
        browser.find("[name=sort] option[value=size]").click()
        browser.wait(lambda: browser.names()[0] == "many/module-09999")
        browser.find("input[type=search]").send_keys("number 777")
        browser.wait(lambda: browser.text("[data-found]") == "19 modules")
        assert browser.names()[-1] == "many/module-00777"
        assert not browser.find("[data-pages]").is_displayed()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_hinders_anybody_or_scrolls_sideways(
    browser: Browser, pages: str, theme: str
) -> None:
    browser.get(pages)
    for name in ("digits/7", "digits/8"):
        if not browser.find(f"[data-tick='{name}']").is_selected():
            browser.find(f"[data-tick='{name}']").click()
    papers = set()
    for page in PAGES:
        browser.look(360, theme)
        browser.get(pages + page)
        if page == "":
            browser.find("summary").click()
        if page == "basket.html":
            browser.wait(lambda: browser.text("[data-sum=macs]"))
        assert not browser.scrolls_sideways(), page
        assert browser.serious() == [], page
        papers.add(browser.run("return getComputedStyle(document.body).backgroundColor"))
    assert papers == {"rgb(251, 251, 250)" if theme == "light" else "rgb(19, 21, 25)"}
    assert browser.complaints() == []


def test_a_picture_is_judged_by_what_is_installed(
    browser: Browser, registry: Path, project: Path, tmp_path: Path
) -> None:
    install(["digits/7"], project, registry)
    Image.linear_gradient("L").save(tmp_path / "picture.png")
    (tmp_path / "no picture.png").write_text("<svg>")
    with serving(listing_of(registry), project) as pages:
        browser.get(f"{pages}basket.html")
        browser.run("localStorage.clear()")

        browser.find("[data-file]").send_keys(str(tmp_path / "picture.png"))
        browser.wait(lambda: "digits/7" in browser.text("[data-scores]"))
        assert "%" in browser.text("[data-scores] td.number")
        browser.find("[data-file]").send_keys(str(tmp_path / "no picture.png"))
        browser.wait(lambda: "known format" in browser.text("[data-scores]"))
    said = [one for one in browser.complaints() if "422" not in one]
    assert said == []
