"""The pages in a browser: no request, no complaint, room on a phone, structures that turn."""

import json
import shutil
from io import BytesIO

import pytest
from ase.calculators.emt import EMT
from PIL import Image

from culi_mlip.dynamics import run_relaxations
from culi_mlip.dynamics.melt_quench import Schedule, melt_quench
from culi_mlip.files import write_bytes
from culi_mlip.properties import equation_of_state
from culi_mlip.properties.output import write_result
from culi_mlip.properties.scorecard import Score, references
from culi_mlip.report import properties
from culi_mlip.report.figures import png
from culi_mlip.report.overview import write_overview
from culi_mlip.report.scorecard import page as scorecard_page
from culi_mlip.report.tuning import write_report
from culi_mlip.structures import bulk, rattled
from culi_mlip.tuning.tune import front_times, load_tuning
from tests.conftest import need, unpack_old

FOLDERS = "dataset", "run", "md", "melt-quench", "relaxed", "properties"


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window, which logs requests and complaints."""
    driver = shutil.which("chromedriver")
    if not driver:
        need("chromium", "chromedriver is not installed")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    for flag in (
        "headless=new",
        "no-sandbox",
        "disable-dev-shm-usage",
        "enable-unsafe-swiftshader",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    running = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield running
    running.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages of every kind, by name."""
    folder = tmp_path_factory.mktemp("pages")
    unpack_old(folder, "dataset", "run", "md", "study")
    pytest.importorskip("chemiscope")
    copper = bulk("Cu", cubic=True)
    schedule = Schedule(hold=500, to=400, rate=1e4, hold_time=0.02)
    melt_quench(copper, EMT(), schedule, out=folder / "melt-quench")
    run_relaxations([rattled(copper, 0.05, seed=0)], EMT(), out=folder / "relaxed")
    write_result(folder / "properties", "eos", equation_of_state("Cu", EMT()))
    figure = properties.equation_of_state(equation_of_state("Cu", EMT()))
    write_bytes(folder / "properties/eos.png", png(figure))
    made = {
        "folders": write_overview(
            [folder / name for name in FOLDERS],
            folder / "all.html",
        ),
        "light": write_overview([folder / "run"], folder / "run.html", in_3d=False),
        "scorecard": folder / "card.html",
    }
    known = references("pbe")
    scores = [Score(name, r.value * 1.07, r.unit, r, 0.1) for name, r in known.items()]
    scores.append(Score("a long name of a property " * 3, None, "", None, None, "why " * 40))
    made["scorecard"].write_text(scorecard_page(scores, "a potential"), encoding="utf-8")
    tuning = load_tuning(folder / "study")
    made["tuning"] = write_report([tuning], [front_times(tuning)], folder / "tuning")
    made["tunings and runs"] = write_overview(
        [folder / "study", folder / "run"], folder / "both.html", in_3d=False
    )
    return made


def logged(browser):
    """Addresses that were asked for, and complaints, since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages
             if m["method"] == "Network.requestWillBeSent"]  # fmt: skip
    return asked, [entry["message"] for entry in browser.get_log("browser")]


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["light", "scorecard", "tuning", "tunings and runs", "folders"])
def test_page_asks_for_nothing_complains_of_nothing_and_has_room(browser, pages, name, width):
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    logged(browser)
    browser.get(pages[name].as_uri())
    wide, seen = browser.execute_script(
        "return [document.documentElement.scrollWidth, window.innerWidth]"
    )
    asked, complaints = logged(browser)
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [
        pages[name].as_uri()
    ]
    assert complaints == []
    assert seen == width
    assert wide <= width
    pictures = browser.find_elements("css selector", "img")
    assert all(picture.get_property("naturalWidth") > 100 for picture in pictures)


def test_structures_turn(browser, pages):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.support.wait import WebDriverWait

    metrics = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(pages["folders"].as_uri())
    views = browser.find_elements("css selector", ".view")
    assert len(views) == 4  # of what has structures
    view = views[1]
    WebDriverWait(browser, 60).until(lambda _: colours(view) > 50)
    before = view.screenshot_as_png
    ActionChains(browser).drag_and_drop_by_offset(view, 120, 40).perform()
    WebDriverWait(browser, 60).until(lambda _: view.screenshot_as_png != before)
    assert colours(view) > 50


def colours(element):
    """How many the picture of an element has: few before its structures are drawn."""
    picture = Image.open(BytesIO(element.screenshot_as_png)).convert("RGB")
    return len(picture.getcolors(picture.width * picture.height))


def test_light_pages_are_light(pages):
    assert pages["light"].stat().st_size < 300_000
    assert pages["folders"].stat().st_size < 8_000_000
