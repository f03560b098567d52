"""How long does a message that comes by itself wait beside an import, a batch and a campaign?

`python -m tests.bench.neighbours`. Of one run on one machine: what single submissions over the socket take with nothing
beside them, then beside each kind of bulk intake, and how many times as long that is. The sandbox sends slowly, so that
taking in is the load.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.daemon.harness import ROOT, Site, short_directory

ROWS = 20_000
ALONE_S = 4.0
PAUSE_S = 0.004
"""Between two single submissions."""

TO = [f"+1415{5_000_000 + n}" for n in range(ROWS)]


def imported(site: Site) -> None:
    file = site.directory / "neighbours.csv"
    file.write_text("\n".join(["to,text", *(f"{to},import" for to in TO)]))
    command = [sys.executable, "-m", "smsd", "import", str(file), "--socket", str(site.socket)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)


def batch(site: Site) -> None:
    post(site, "/v1/messages/batch", [{"to": to, "text": "batch"} for to in TO])


def campaign(site: Site) -> None:
    post(site, "/v1/campaigns", [{"id": "neighbours", "text": "campaign"}, *({"to": to} for to in TO)])


def post(site: Site, path: str, lines: Sequence[object]) -> None:
    """NDJSON, by a process of its own."""
    body = site.directory / "body"
    body.write_text("\n".join(map(json.dumps, lines)) + "\n")
    headers = ["-H", "Content-Type: application/x-ndjson", "-H", "Authorization: Bearer app"]
    command = ["curl", "-sSf", "-o", str(site.directory / "answer"), *headers, "-T", str(body), "-X", "POST"]
    subprocess.run([*command, f"http://127.0.0.1:{site.port}{path}"], capture_output=True, check=True)


def singles(site: Site, go_on: Callable[[], bool]) -> list[float]:
    """Milliseconds of each."""
    took = []
    with site.client() as client:
        while go_on():
            began = time.perf_counter()
            client.send(f"+1212{5_000_000 + int(began * 1e4) % 1_000_000}", f"single {began}")
            took.append((time.perf_counter() - began) * 1e3)
            time.sleep(PAUSE_S)
    return sorted(took)


def beside(site: Site, bulk: Callable[[Site], None]) -> tuple[list[float], float]:
    """And how many rows a second the bulk came to."""
    began = time.perf_counter()
    worker = threading.Thread(target=bulk, args=(site,))
    worker.start()
    took = singles(site, worker.is_alive)
    worker.join()
    return took, ROWS / (time.perf_counter() - began)


def main() -> None:
    with short_directory() as directory:
        site = Site(Path(directory))
        provider = {"type": "sandbox", "account_sid": None, "auth_token": None, "base_url": None, "rate": "50/s"}
        site.configure("", sections={"http": site.with_http(app={})}, **provider)
        site.start()
        try:
            until = time.perf_counter() + ALONE_S
            alone = singles(site, lambda: time.perf_counter() < until)
            tell("nothing", alone, alone)
            for bulk in (campaign, imported, batch):
                took, pace = beside(site, bulk)
                tell(bulk.__name__, took, alone, f"{pace:8.0f} rows/s")
        finally:
            site.close()


def tell(beside_what: str, took: list[float], alone: list[float], more: str = "") -> None:
    p50, p95, most = (took[min(len(took) - 1, int(len(took) * share))] for share in (0.5, 0.95, 1.0))
    times = p95 / alone[int(len(alone) * 0.95)]
    print(
        f"beside {beside_what:9} p50 {p50:6.1f}  p95 {p95:6.1f}  most {most:6.1f} ms  x {times:4.1f} {more}", flush=True
    )


if __name__ == "__main__":
    main()
