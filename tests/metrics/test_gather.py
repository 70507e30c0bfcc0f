"""The metrics gather over ranks of different sizes, for users' own loops."""

import subprocess
import sys

SCRIPT = """
import sys
import torch
from neglab.metrics import DetectionMetrics, IDAccuracy

rank, place = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=2)
scores = torch.linspace(-3, 5, 50, dtype=torch.float64).sin()
is_id = torch.arange(50) % 3 != 0
mine = slice(0, 33) if rank == 0 else slice(33, 50)
whole, shared, accuracy = DetectionMetrics(), DetectionMetrics(), IDAccuracy()
whole.update(scores, is_id)
shared.update(scores[mine], is_id[mine])
accuracy.update(torch.arange(50)[mine] % 2, torch.zeros(50, dtype=torch.long)[mine])
gathered = shared.compute()
whole.distributed_available_fn = lambda: False
alone = whole.compute()
assert gathered.keys() == alone.keys() and len(alone) == 5
assert all(torch.equal(gathered[name], alone[name]) for name in alone), (gathered, alone)
assert float(accuracy.compute()) == 0.5
# A rank that leaves while gloo's threads run aborts now and then.
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


def test_two_uneven_ranks_equal_one(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py")]
    ranks = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "meeting")], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in ranks]
    assert all(process.returncode == 0 for process in ranks), errors
