"""Do Prometheus's rules and Grafana's dashboard speak of metrics that are there, and does Prometheus understand them?

promtool judges both: Debian has it in the package `prometheus`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from smsd.core.events import Kind
from smsd.core.health import Standing
from smsd.core.message import State
from smsd.listeners.metrics import exposition
from tests.listeners.house import House, until

SYSTEMD = Path(__file__).parents[2] / "systemd"
RULES = SYSTEMD / "smsd.rules.yml"
DASHBOARD = SYSTEMD / "smsd.dashboard.json"

UNITS = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'smsd_build_info{{instance="a", job="smsd", version="1"}}', values: '1x60'}}
      - {{series: 'smsd_messages_total{{instance="a", job="smsd", event="message.sent", provider="main"}}',
         values: '0+90x60'}}
      - {{series: 'smsd_messages_total{{instance="a", job="smsd", event="message.failed", provider="main"}}',
         values: '0+10x20 200+0x40'}}
      - {{series: 'smsd_messages{{instance="a", job="smsd", state="pending", priority="bulk"}}', values: '9000x60'}}
      - {{series: 'smsd_messages{{instance="a", job="smsd", state="processing", priority="high"}}',
         values: '0x30 1000x30'}}
      - {{series: 'smsd_provider_state{{instance="a", job="smsd", provider="main", state="halted"}}',
         values: '0x9 1x10 0x50'}}
      - {{series: 'smsd_provider_state{{instance="a", job="smsd", provider="slow", state="cooling"}}',
         values: '0x9 1x4 0x4 1x4 0x4 1x4 0x30'}}
      - {{series: 'smsd_alerts{{instance="a", job="smsd", name="disk", provider=""}}', values: '0x20 1x5 0x40'}}
    alert_rule_test:
      - {{eval_time: 5m, alertname: SmsdProviderHalted, exp_alerts: []}}
      - eval_time: 12m
        alertname: SmsdProviderHalted
        exp_alerts:
          - exp_labels: {{severity: critical, instance: a, job: smsd, provider: main, state: halted}}
            exp_annotations:
              summary: Provider main is halted
              description: It refused our credentials or our account. What only it carries waits until that is mended.
              runbook: >-
                smsd providers; mend the account or the section [providers.main];
                smsd reload, or smsd resume main
      - {{eval_time: 50m, alertname: SmsdErrorRate, exp_alerts: []}}
      - {{eval_time: 25m, alertname: SmsdBacklog, exp_alerts: []}}
      - {{eval_time: 5m, alertname: SmsdCooldowns, exp_alerts: []}}
      - {{eval_time: 10m, alertname: SmsdOutboxFull, exp_alerts: []}}
      - {{eval_time: 10m, alertname: SmsdAbsent, exp_alerts: []}}
    promql_expr_test:
      - expr: instance:smsd_backlog:sum
        eval_time: 40m
        exp_samples: [{{labels: 'instance:smsd_backlog:sum{{instance="a", job="smsd"}}', value: 10000}}]
      - expr: round(instance:smsd_error_ratio:rate15m, 0.001)
        eval_time: 19m
        exp_samples: [{{labels: '{{instance="a", job="smsd"}}', value: 0.1}}]
      - expr: count by (alertname) (ALERTS{{alertstate="firing"}})
        eval_time: 40m
        exp_samples:
          - {{labels: '{{alertname="SmsdBacklog"}}', value: 1}}
          - {{labels: '{{alertname="SmsdCooldowns"}}', value: 1}}
      - expr: count by (alertname) (ALERTS{{alertstate="firing"}})
        eval_time: 22m
        exp_samples:
          - {{labels: '{{alertname="SmsdErrorRate"}}', value: 1}}
          - {{labels: '{{alertname="SmsdOutboxFull"}}', value: 1}}
"""


def promtool(*words: str, given: str | None = None) -> str:
    """What it says. It must find nothing wrong."""
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is missing: THE RULES AND METRICS WERE NOT CHECKED (Debian: apt-get install prometheus)")
    done = subprocess.run([tool, *words], input=given, capture_output=True, text=True, check=False, timeout=60)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def expressions_of_the_dashboard() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


def expressions_of_the_rules() -> Iterator[str]:
    """The file without names and words: YAML is no dependency, and what is left is what is asked for."""
    yield re.sub(r"(?m)^\s*(#|- record:|- alert:|summary:|description:|runbook:).*$", "", RULES.read_text())


async def names(house: House) -> set[str]:
    """Every name that a query can ask for."""
    found: set[str] = set()
    for family in text_string_to_metric_families(await exposition(house.engine.service)):
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        found.update(family.name + end for end in ends)
    return found


@pytest.mark.parametrize("of", ["rules", "dashboard"])
async def test_every_metric_that_is_asked_for_is_exposed(house: House, of: str) -> None:
    asked = list(expressions_of_the_rules() if of == "rules" else expressions_of_the_dashboard())
    used = {name for each in asked for name in re.findall(r"(?<![:\w])smsd_\w+(?!:)\b(?!:)", each)}
    assert len(used) > 8
    assert used <= await names(house)


@pytest.mark.parametrize("of", ["rules", "dashboard"])
def test_every_value_that_is_asked_for_is_one_that_there_is(of: str) -> None:
    """A misspelt state or event would be a graph that is always empty."""
    asked = " ".join(expressions_of_the_rules() if of == "rules" else expressions_of_the_dashboard())
    events = re.findall(r'event="([^"]+)"', asked)
    for group in re.findall(r'event=~"message\\\\\.\(([^)]+)\)"', asked):
        events += [f"message.{each}" for each in group.split("|")]
    assert len(events) >= 3
    assert set(events) <= set(Kind)
    states = {each for found in re.findall(r'state!?=~?"([^"]+)"', asked) for each in found.split("|")}
    assert states <= {*Standing, *(state.label for state in State), "waiting"}


def test_prometheus_understands_the_rules() -> None:
    assert "SUCCESS" in promtool("check", "rules", str(RULES))


def test_the_rules_raise_when_they_should_and_only_then(tmp_path: Path) -> None:
    file = tmp_path / "tests.yml"
    file.write_text(UNITS.format(rules=RULES))
    assert "SUCCESS" in promtool("test", "rules", str(file))


def test_every_alert_says_what_to_do() -> None:
    text = RULES.read_text()
    alerts = re.split(r"(?m)^ +- alert: ", text)[1:]
    assert len(alerts) >= 10
    for alert in alerts:
        for word in ("summary:", "description:", "runbook:", "severity:"):
            assert word in alert, alert.splitlines()[0]


def test_prometheus_understands_every_query_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"dashboard:query:n{n}", "expr": expr.replace("$__rate_interval", "5m").replace("$instance", ".*")}
        for n, expr in enumerate(expressions_of_the_dashboard())
    ]
    file = tmp_path / "dashboard.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file))


def test_the_dashboard_is_one_that_grafana_reads() -> None:
    """Its model: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/"""
    found = dashboard()
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= found.keys()
    panels = found["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["type"] in {"row", "stat", "timeseries"}
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["targets"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert [each["name"] for each in found["templating"]["list"]] == ["datasource", "instance"]


async def test_prometheus_finds_no_fault_with_the_metrics(house: House) -> None:
    """After messages of several fates, with every series there can be of one provider."""
    client = await house.client()
    for n in range(20):
        await client.ask(text=f"text {n}", to="+15005550001" if n % 4 == 0 else "+14155550123")
    await house.engine.service.resume("main")
    await until(lambda: house.engine.tally.backlog == 0)
    said = promtool("check", "metrics", given=await exposition(house.engine.service))
    assert said.strip() == ""
