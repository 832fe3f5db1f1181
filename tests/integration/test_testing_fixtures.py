"""The pytest fixtures for users, used as a user would."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]


def test_the_fixtures_give_real_servers(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["yadtq.testing"]')
    pytester.makepyfile(
        """
        from yadtq import TaskClient, TaskWorker, create_yadtq

        def test_it(yadtq_settings):
            broker, store = create_yadtq(**yadtq_settings)
            worker = TaskWorker(broker, store, {"double": lambda n: 2 * n}).start()
            with TaskClient(broker, store) as client:
                assert client.wait_for_result(client.submit("double", 21), timeout=20).result == 42
            worker.stop()
        """
    )
    pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider").assert_outcomes(passed=1)
