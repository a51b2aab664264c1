"""The key that instances accept, with several concurrent clients."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor

from orchestrator.instances import connection
from tests.support import new_client


def test_concurrent_clients_share_one_user_key() -> None:
    with new_client() as client, ThreadPoolExecutor(4) as pool:
        contexts = [client.context() for _ in range(4)]
        results = set(pool.map(connection.public_key, contexts))
        path = connection.user_key(contexts[0])
        words = ["ssh-keygen", "-y", "-f", str(path)]
        stands = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[1]
        assert {public.split()[1] for public in results} == {stands}
        assert path.stat().st_mode & 0o777 == 0o600
