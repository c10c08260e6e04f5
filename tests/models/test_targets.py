"""The hybrid where large and batched simulations run: LAMMPS' pair_allegro, torch-sim."""

import subprocess
import sys

import pytest
import torch
from allegro._compile import PAIR_ALLEGRO_INPUTS, allegro_data_settings
from ase.build import bulk
from nequip.data import AtomicDataDict, from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.scripts._compile_utils import LMP_OUTPUTS
from nequip.utils.unittests.model_tests_torchsim import TorchSimIntegrationMixin

from culi_mlip.calculator import HybridAllegro
from tests.models.test_builders import MINIMAL, VARIANTS, NequipsFixtures

pytestmark = pytest.mark.slow


class TestHybridInTorchSim(NequipsFixtures, TorchSimIntegrationMixin):
    """nequip's own tests of its torch-sim calculator (extra ``torchsim``), target "batch"."""

    @pytest.fixture(scope="class", autouse=True)
    def torchsim(self):
        pytest.importorskip("torch_sim")
        pytest.importorskip("nvalchemiops")

    @pytest.fixture(scope="class")
    def config(self):
        return MINIMAL | VARIANTS["qdi"]


def test_pair_allegro_gives_the_forces_of_the_calculator(trained, tmp_path):
    compiled = tmp_path / "model.nequip.pt2"
    subprocess.run(
        [
            sys.executable, "-m", "nequip.scripts.compile",
            trained["qdi"] / "checkpoints" / "best.ckpt", compiled,
            "--mode", "aotinductor", "--device", "cpu", "--target", "pair_allegro",
        ],
        check=True,
        capture_output=True,
        cwd=trained["qdi"],
    )  # fmt: skip
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.rattle(0.1, seed=1)
    data = ChemicalSpeciesToAtomTypeMapper(model_type_names=["Cu"])(from_ase(atoms))
    data = allegro_data_settings(NeighborListTransform(r_max=5.0)(data))
    outputs = torch._inductor.aoti_load_package(str(compiled))(
        [data[key] for key in PAIR_ALLEGRO_INPUTS]
    )
    forces = dict(zip(LMP_OUTPUTS, outputs, strict=True))[AtomicDataDict.FORCE_KEY]
    # Ghost atoms hand their forces to the atoms that they are images of, as LAMMPS does.
    atoms.calc = HybridAllegro(trained["qdi"], device="cpu")
    total = torch.as_tensor(atoms.get_forces()).clone()
    ghosts = forces[len(atoms) :]
    own = forces[: len(atoms)].clone()
    scaled = torch.as_tensor(atoms.get_scaled_positions(wrap=False))
    images = data[AtomicDataDict.POSITIONS_KEY][len(atoms) :] @ torch.linalg.inv(
        torch.as_tensor(atoms.cell.array)
    )
    shift = images[:, None] - scaled[None]
    owner = (shift - shift.round()).norm(dim=2).argmin(dim=1)
    own.index_add_(0, owner, ghosts)
    torch.testing.assert_close(own, total, rtol=0, atol=1e-8)
