"""A page of a store that answers too late says so, and shows it once it is there."""

import subprocess
import sys

import pytest

SERVER = """
import sys, time
from nnviz.results import graph_results, query_pool

query_pool.QueryPool.__init__.__kwdefaults__["seconds"] = 0.3
made = graph_results.GraphResults.graph

def slowly(self, request):
    if not self.is_warm(request):
        time.sleep(2)
    return made(self, request)

graph_results.GraphResults.graph = slowly
from nnviz_dashboards.serving.server import make_server

server = make_server(sys.argv[1], with_token=False)
server.start()
print(server.port, flush=True)
server.io_loop.start()
"""


@pytest.mark.browser
@pytest.mark.slow
def test_page__of_a_slow_store__says_so_and_has_the_graph_later(graph_url, visit):
    command = [sys.executable, "-c", SERVER, graph_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            page = visit(f"127.0.0.1:{process.stdout.readline().strip()}")
            graph = page.get_by_role("region", name="Attribution graph")
            graph.get_by_text("It was not there after 0.3 seconds").wait_for()
            page.wait_for_timeout(2500)
            page.locator(".row[data-class='5']").click()
            page.locator("[data-node], .node").first.wait_for()
            texts = page.get_by_text("This takes too long").count()
            page.goto(
                "about:blank"
            )  # before its server ends, and pictures fail to load
        finally:
            process.terminate()
            process.wait(timeout=20)

    assert texts == 0
