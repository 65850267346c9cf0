"""What the tests share: tiny sweeps, a trained network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from orchestrator.driver.executors import RAY_ENVIRONMENT, opened, record_plan, run
from orchestrator.driver.launch import Launch
from orchestrator.planning.plan import Job, make_plan
from orchestrator.sweepfile.model import parse_sweep
from prune_core.data import datasets
from prune_core.models import architectures, third_party
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.scores.scoring import score
from prune_core.specs.recipes import Training
from prune_core.specs.registry import CRITERIA
from prune_core.specs.settings import Calibration, Dataset, Threat
from prune_core.specs.stages import Dense, Pruned, Scores
from prune_core.training import loop as training
from prune_core.training.harp import learner_of
from prune_core.training.history import Checkpoint
from results.errors import AnalysisError
from results.tables.storage import Storage

from bundled import OWN_TINY, bundle, forget_own, own_method

# The tests run side by side, a process a core.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.update({"RAY_worker_niceness": "0"})  # a busy machine would starve workers that are nice
os.environ.update(RAY_ENVIRONMENT)  # read by Ray at its import, whichever test imports it first
# The same examples every time: what fails, fails for everybody.
settings.register_profile("fixed", derandomize=True)
settings.load_profile("fixed")

CPU = torch.device("cpu")
assert third_party.load_timm()  # imported before a test imports a tracker, which timm would find
DEMO = Path(__file__).parents[1] / "sweeps" / "demo.yaml"
THREAT = Threat(eps=0.15)
SHORT = Training(epochs=1, lr=0.1).resolved()
"""How scores are trained that need to be, where any training does."""

TINY = """
name: tiny
dataset: {name: digits, per_class: 40, test_per_class: 10}
architectures: [resnet8]
criteria: [random, l1]
sparsities: [0.5]
allocations: [uniform]
finetuning: {none: {epochs: 0}, standard: {objective: standard, epochs: 2, lr: 0.05}}
seeds: 2
dense: {objective: standard, epochs: 2, batch_size: 32, lr: 0.05}
threat: {eps: 0.15}
evaluation: {attacks: [fgsm], sanity_images: 0}
"""

EVERY_EPOCH = "{checkpoint_every: 0}"
"""Resources of a sweep whose trainings are interrupted: a minute would be all of each."""
CHECKED = "{attacks: [fgsm], sanity_images: 6}"
"""Evaluation with the checks for false robustness, which take most of a tiny sweep's time."""


class Silent:
    """A progress display that shows nothing, and remembers what it was told."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[str, str]] = []
        self.notes: list[str] = []

    def started(self, job: Job) -> None:
        """Nothing to show."""

    def heard(self, job: Job, beat: object) -> None:
        """Nothing to show."""

    def ended(self, job: Job, outcome: object, lost: object) -> None:
        self.outcomes.append((job.kind, outcome.status))

    def noted(self, message: str) -> None:
        self.notes.append(message)


def sweep_text(**changes: str) -> str:
    """The tiny sweep with whole lines replaced, by their key."""
    lines = []
    for line in TINY.strip().splitlines():
        key = line.partition(":")[0]
        lines.append(f"{key}: {changes.pop(key)}" if key in changes else line)
    return "\n".join([*lines, *(f"{key}: {value}" for key, value in changes.items())])


def run_sweep(
    text: str, root: Path | str, executor: str = "inline", workers: int | None = None, **how: bool
) -> Silent:
    """Run a sweep's text into a storage root; return what the display was told."""
    plan = make_plan(parse_sweep(text))
    storage = Storage(str(root))
    progress = Silent()
    record_plan(plan, storage, text)
    with opened(executor, "cpu", 1, workers, None) as place:
        run(Launch(plan, storage, place.device, progress, **how), place)
    return progress


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "root"))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage root with the tiny sweep, run without a fault; copy it before changing it."""
    root = tmp_path_factory.mktemp("undisturbed")
    run_sweep(sweep_text(), root)
    return root


@pytest.fixture
def alone() -> Iterator[None]:
    """A process of its own for each test, as far as the tiny sweep's own methods go."""
    yield
    forget_own()


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a method, a sweep that uses it, and a root where another sweep ran too."""
    folder = tmp_path_factory.mktemp("ran")
    own_method(folder)
    other = {**OWN_TINY, "name": "other", "criteria": "[l1]", "seeds": "[7]",
             "finetuning": "{none: {epochs: 0}}",
             "evaluation": "{attacks: [pgd-2], sanity_images: 0}"}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        (folder / "tiny.yaml").write_text(sweep_text(**OWN_TINY))
        run_sweep(sweep_text(**OWN_TINY), folder / "runs")
        run_sweep(sweep_text(**other), folder / "runs")
    forget_own()
    return folder


@pytest.fixture
def here(ran: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder, being in it."""
    monkeypatch.syspath_prepend(str(ran))
    monkeypatch.chdir(ran)
    return ran


@pytest.fixture(scope="session")
def made(ran: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its bundle; copy it before changing it."""
    to = tmp_path_factory.mktemp("made") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ran))
        patch.chdir(ran)
        ended = bundle(to, "--creator", "Ada Lovelace", "--license", "CC-BY-4.0")
    assert ended.returncode == 0, ended.stderr
    forget_own()
    return to


@pytest.fixture
def unjudged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that carry no verdict, which takes most of the time."""

    def refuse(_: object) -> None:
        raise AnalysisError("it is not asked")

    for module in ("bundling", "opened"):
        monkeypatch.setattr(f"orchestrator.cli.rerun.{module}.judged", refuse)


@pytest.fixture(scope="session")
def digits() -> datasets.Dataset:
    return datasets.load(Dataset(name="digits"), CPU)


def keeping(kept: list[Checkpoint]) -> Callable[[object, Callable[[], Checkpoint]], None]:
    """What a training calls after each epoch: keeps a checkpoint of every one."""
    return lambda _, copied: kept.append(copied())


def dense_stage(objective: str = "standard", epochs: int = 3, seed: int = 0) -> Dense:
    recipe = Training(objective=objective, epochs=epochs, lr=0.05, attack_steps=3).resolved()
    threat = THREAT if recipe.adversarial else None
    return Dense(
        dataset=Dataset(name="digits"),
        architecture="resnet8",
        training=recipe,
        threat=threat,
        seed=seed,
    )


def scores_stage(criterion: str = "l1", **changes: object) -> Scores:
    """Scores of the trained network's, with what the criterion needs."""
    needs = CRITERIA[criterion].needs
    images = {"gradients", "maps", "inputs", "learned"} & set(needs)
    spec = {
        "network": dense_stage(),
        "criterion": criterion,
        "calibration": Calibration(samples=200, batch_size=64, attack_steps=3) if images else None,
        "training": SHORT if any(need.startswith("trained") for need in needs) else None,
        "threat": THREAT if "threat" in needs else None,
        "sparsity": 0.5 if "sparsity" in needs else None,
    }
    return Scores(**(spec | changes))


def scored(
    network: torch.nn.Module, data: datasets.Dataset, stage: Scores
) -> dict[str, torch.Tensor]:
    """Scores of a network's units, trained first where the criterion needs that."""
    modules = prunable_view(network, data.shape, stage.unit).modules
    trained = None
    if stage.training is not None:
        learner = learner_of(network, modules, stage)
        training.fit(
            learner, data, stage.training, stage.threat, stage.key, penalty=learner.penalty
        )
        trained = learner.scores()
    return score(network, data, modules, stage, trained)


def pruned_stage(criterion: str = "l1", **changes: object) -> Pruned:
    """A pruning of the trained network; scores are given apart."""
    spec = {
        "network": dense_stage(),
        "scores": scores_stage(criterion),
        "allocation": "uniform",
        "sparsity": 0.5,
        "min_keep": 0.1,
    }
    return Pruned(**(spec | changes))


def blank(data: datasets.Dataset, architecture: str = "resnet8", seed: int = 0) -> torch.nn.Module:
    return architectures.build(
        architecture, data.shape, data.classes, data.mean, data.std, seed
    ).eval()


@pytest.fixture(scope="session")
def trained(digits: datasets.Dataset) -> torch.nn.Module:
    """A network with 3 epochs of standard training; copy it before changing it."""
    stage = dense_stage()
    network = blank(digits)
    training.fit(network, digits, stage.training, None, stage.key)
    return network


@pytest.fixture
def exact_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's, as `orchestrator.worker.device.prepare_process` asks for them in jobs."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report whose figures are not drawn: its words alone are looked at."""
    files = dict.fromkeys(("svg", "pdf", "png"), b"<svg />")
    monkeypatch.setattr("results.report.page.render", lambda *_: files)
