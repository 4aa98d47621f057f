"""The tables of a recipe, as frozen models: every key with its type, default, unit and one sentence.

Nothing writes to a table after it is resolved (`veneer.recipe`). An unknown key is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from veneer.choices import Scheduler


def _not_by_a_recipe(value: bool) -> bool:
    if value:
        raise ValueError("only the command line may say that: --allow-private-addresses")
    return value


NeverByRecipe = Annotated[bool, AfterValidator(_not_by_a_recipe)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
MixedPrecision = Literal["no", "fp16", "bf16"]
Prediction = Literal["epsilon", "v_prediction", "v_prediction_zero_snr"]
LossWeighting = Literal["none", "min_snr", "soft_min_snr", "debiased"]
LossType = Literal["l2", "huber"]
Method = Literal["lokr", "loha", "oft"]
TimestepSampling = Literal["uniform", "stratified", "logit_normal"]
Choice = Literal["validation", "last", "style"]
Optimizer = Literal["adamw", "adamw8bit", "prodigy", "schedulefree", "adafactor", "lion"]
LrScheduler = Literal[
    "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"
]
TargetSet = Literal["none", "attention", "attention+ff", "attention+ff+conv"]
Init = Literal["gaussian", "kaiming"]


class ContradictionError(ValueError):
    """Keys that each fit, and not together.

    Attributes:
        key: The first of them.
    """

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"`{key}`: {why}" for key, why in faults))
        self.key = faults[0][0]


def contradiction_in(error: Mapping[str, Any]) -> ContradictionError | None:
    """The contradiction that one of pydantic's errors is; None where it is another fault."""
    cause = error.get("ctx", {}).get("error")
    return cause if isinstance(cause, ContradictionError) else None


class Table(BaseModel):
    """A table of a recipe: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _one_for_a_list(cls, values: Any) -> Any:
        """Take one value where a list of them is asked for."""
        if not isinstance(values, Mapping):
            return values
        lists = {name for name, field in cls.model_fields.items() if get_origin(field.annotation) is tuple}
        return {
            name: (value,) if name in lists and isinstance(value, (str, int, float)) else value
            for name, value in values.items()
        }


class BaseTable(Table):
    """The pretrained model that is customised."""

    model: str = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    """Base model: hub name, local folder, `.safetensors` checkpoint, or `pocket` (bundled)."""
    vae: str | None = None
    """VAE to use in place of the base's own: hub name, folder or `.safetensors` file."""
    revision: str | None = None
    """Revision of the hub repository: a branch, tag or commit."""
    prediction: Prediction | None = None
    """What the base predicts: noise, velocity, or velocity with a last timestep of noise alone (zero terminal
    SNR, as NoobAI's); none where its files say it."""


class CollectTable(Table):
    """Where the pictures come from."""

    sources: tuple[str, ...] = ()
    """Folders, `openverse:QUERY` and `commons:QUERY` (licences known), `bing:QUERY;size=large;type=photo`,
    `urls:FILE`, `hf:NAME`, or `pocket` (bundled)."""
    limit: int | None = Field(None, ge=1)
    """Most pictures to take over all sources, in pictures."""
    max_file_mib: float = Field(25.0, gt=0)
    """Largest file that is read or downloaded, in MiB."""
    allow_private_addresses: NeverByRecipe = False
    """Always false: a recipe may be a stranger's. `--allow-private-addresses` lets downloads reach private,
    loopback and link-local addresses."""


class CaptionTable(Table):
    """How pictures without a caption get one."""

    model: str = "Salesforce/blip-image-captioning-large"
    """Captioner: hub name, local folder, `pocket` (bundled), or `none` to take file names; a tagger such as
    `SmilingWolf/wd-vit-tagger-v3`, or its folder, writes booru tags."""
    prefix: str = ""
    """Text put before every generated caption, such as `8-bit illustration of`."""
    trigger: str = ""
    """Word put at the very beginning of every caption, the word that later calls the style."""
    replacements: dict[str, str] = Field(default_factory=dict)
    """Words to replace in generated captions."""
    tag_threshold: Share | None = None
    """Least probability of a tagger's tags; none for 0.35."""
    character_threshold: Share | None = None
    """Least probability of a tagger's characters; none for 0.85."""
    tag_rating: Literal[True] | None = None
    """Whether a tagger's likeliest rating is the last tag, such as `rating:general`; none to leave it out."""


class EncodeTable(Table):
    """How pictures become latents."""

    resolution: int = Field(512, ge=32, multiple_of=8)
    """Training resolution, in pixels: side of the square whose area every bucket keeps."""
    buckets: bool = False
    """Whether pictures keep their aspect ratio in buckets, instead of a centre crop to a square."""
    upscale: bool = False
    """Whether pictures smaller than the resolution are enlarged; otherwise they get a smaller bucket."""
    flip: Share = 0.5
    """Share of training pictures mirrored left to right."""
    variants: int = Field(1, ge=1, le=16)
    """Crop variants cached for each picture; more than one keeps random cropping alive."""
    tag_variants: int | None = Field(None, ge=1, le=64)
    """Orders of a caption's tags, parted by commas, that are cached and trained; none where captions are
    sentences."""
    tag_keep: int | None = Field(None, ge=0)
    """Tags at a caption's beginning that keep their place and are never left out, such as the trigger."""
    tag_dropout: Share | None = None
    """Share of the other tags left out of each order."""
    tag_underscores: Literal["spaces"] | None = None
    """Whether underscores within tags are written as spaces; none to keep them."""
    tag_ratings: Literal["drop"] | None = None
    """Whether tags that rate a picture, such as `rating:safe`, are left out; none to keep them."""


class LoraTable(Table):
    """The adapter that is trained."""

    rank: int = Field(4, ge=1)
    """Rank of the update."""
    lora_alpha: float = Field(4.0, gt=0)
    """Scale numerator: the update is multiplied by lora_alpha / rank."""
    target_modules: TargetSet | tuple[str, ...] = "attention"
    """UNet layers that get an adapter: a named set, or a list of module-name endings; `none` where only a
    word or the text encoder is trained."""
    init: Init = "gaussian"
    """How A is drawn (B is always zero): gaussian with deviation 1 / rank, or kaiming uniform."""
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Dropout on the adapter's input while training."""
    method: Method | None = None
    """Another update than LoRA's: lokr, loha (rank is that of their factors) or oft (rank is its block size);
    none for LoRA. Exported as peft's own files and as the nearest LoRA."""
    use_rslora: bool = False
    """Whether the scale is lora_alpha / sqrt(rank)."""
    use_dora: bool = False
    """Whether weights are decomposed into magnitude and direction (DoRA)."""
    rank_pattern: dict[str, int] = Field(default_factory=dict)
    """Ranks for modules whose name matches a pattern, in place of `rank`."""
    timestep_rank: bool = False
    """Whether fewer ranks act at high noise (T-LoRA)."""
    text_encoder: bool = False
    """Whether the text encoder's attention gets an adapter too."""
    embedding_token: str = Field("", pattern=r"^(<[a-z0-9][a-z0-9_-]*>|[a-z0-9][a-z0-9_-]*)?$")
    """Word learnt as new vectors of the text encoder (textual inversion), such as `<my-style>`; empty for
    none. Captions call it: `caption.trigger` puts it there."""
    embedding_vectors: int = Field(1, ge=1, le=32)
    """Vectors of the learnt word: as many tokens as it takes in a prompt."""
    embedding_init: str = "style"
    """Known word that the learnt one starts as."""


class TrainTable(Table):
    """How the adapter is trained."""

    max_train_steps: int = Field(1000, ge=1)
    """Optimizer steps."""
    train_batch_size: int = Field(2, ge=1)
    """Pictures of one micro-batch, over all processes."""
    gradient_accumulation_steps: int = Field(1, ge=1)
    """Micro-batches of one optimizer step."""
    learning_rate: float = Field(1e-4, gt=0)
    """Peak learning rate."""
    learning_rates: dict[str, float] = Field(default_factory=dict)
    """Learning rates for modules whose name matches a pattern, in place of `learning_rate`."""
    loraplus_ratio: float = Field(1.0, gt=0)
    """Learning rate of B divided by that of A (LoRA+)."""
    optimizer: Optimizer = "adamw"
    """Optimizer."""
    lr_scheduler: LrScheduler = "cosine"
    """Shape of the learning rate over the steps."""
    lr_warmup_steps: int = Field(0, ge=0)
    """Steps over which the learning rate rises from zero."""
    adam_weight_decay: float = Field(1e-2, ge=0)
    """Weight decay."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients with a larger L2 norm are scaled down to it."""
    mixed_precision: MixedPrecision = "no"
    """Precision of the frozen base; adapters and optimizer state are always float32."""
    base_weights: Literal["int8"] | None = None
    """Whether the frozen base's linear layers are kept in 8 bits, for less memory; none for the precision
    above."""
    gradient_checkpointing: bool = False
    """Whether activations are recomputed in the backward pass, to save memory."""
    compile: bool = False
    """Whether the UNet is compiled before the first step: minutes once, for faster steps on a GPU."""
    cuda_graph: bool = True
    """Whether an NVIDIA GPU records the step as CUDA graphs and plays them: far faster at small batches."""
    deterministic: bool = False
    """Whether a GPU computes the same bits each time, for slower steps; a CPU always does."""
    loss_weighting: LossWeighting = "none"
    """Weight of the loss by timestep."""
    snr_gamma: float = Field(5.0, gt=0)
    """Cap of the signal-to-noise ratio for min-SNR weighting."""
    loss_type: LossType = "l2"
    """Squared error, or pseudo-Huber with a schedule over timesteps."""
    noise_offset: float = Field(0.0, ge=0)
    """Deviation of a noise constant over each channel, added to the noise."""
    input_perturbation: float = Field(0.0, ge=0)
    """Extra noise in the UNet's input that is not in the target."""
    timestep_range: tuple[int, int] | None = None
    """First timestep that is trained and one past the last; none for all of the scheduler's."""
    timestep_sampling: TimestepSampling = "uniform"
    """Distribution of timesteps."""
    timestep_shift: float | None = Field(None, gt=0)
    """Pull of the drawn timesteps towards much noise, above 1, or little, below; none for the base's own."""
    caption_dropout: Share = 0.0
    """Share of pictures trained with the empty caption."""
    masked_loss: bool = False
    """Whether `NAME.mask.png` beside a picture weights its loss by place."""
    prior_sources: tuple[str, ...] = ()
    """Pictures of what the base should keep (prior preservation): folders."""
    prior_loss_weight: float = Field(0.0, ge=0)
    """Weight of the prior: pictures' loss, or, without pictures, distance to the untuned prediction."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Decay of the moving average of the adapter, lower in the first steps; 0 for none."""
    checkpointing_steps: int = Field(500, ge=1)
    """Steps between checkpoints."""
    checkpoints_total_limit: int | None = Field(None, ge=1)
    """Most checkpoints kept; the chosen one is never removed."""
    validation_share: Share = 0.1
    """Share of pictures held out for validation (at least 4 where there are enough)."""
    validation_steps: int = Field(100, ge=1)
    """Steps between validations."""
    patience: int | None = Field(None, ge=1)
    """Validations without a new lowest loss after which training stops; none for never."""
    average_last: int = Field(0, ge=0)
    """Checkpoints averaged into one more candidate at the end; 0 for none."""
    choose: Choice = "validation"
    """Which checkpoint becomes the result: lowest held-out loss, the last, or nearest style."""
    preview_steps: int | None = Field(None, ge=1)
    """Steps between previews, two pictures drawn in few steps; none for no previews."""
    seed: int = Field(0, ge=0)
    """Seed of everything random."""


class GenerateTable(Table):
    """The pictures made with base and tuned model."""

    prompts: tuple[str, ...] = ("8-bit illustration of a city view",)
    """Prompts."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds; every prompt is drawn with each."""
    negative_prompt: str = ""
    """What guidance pushes away from."""
    num_inference_steps: int = Field(30, ge=1)
    """Denoising steps."""
    guidance_scale: float = Field(7.5, ge=1)
    """Classifier-free guidance; 1 for none."""
    scheduler: Scheduler = "dpmsolver"
    """Sampler."""
    resolution: int | None = Field(None, ge=32, multiple_of=8)
    """Side of the pictures in pixels; none for the training resolution."""
    two_pass: bool = False
    """Whether pictures above the base's own size are drawn at that size first, then enlarged and refined."""


class CompareTable(Table):
    """How base and tuned are held against each other."""

    embedder: str = "auto"
    """Features for the measures: `auto`, `pocket`, or a CLIP or DINO model by name."""
    held_out_prompts: int = Field(16, ge=0)
    """Held-out captions drawn as prompts, beside the recipe's own."""
    general_prompts: tuple[str, ...] = (
        "a photo of a dog",
        "a photo of a red car",
        "a photo of a tree",
        "a photo of a house",
        "a photo of an apple",
        "a photo of a fish",
        "a photo of a boat",
        "a photo of a cup of coffee",
    )
    """Prompts that have nothing to do with the style: they show what was forgotten."""
    scale: float = Field(1.0, ge=0)
    """Strength of the adapter."""
    scales: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """Strengths to choose from, where the verdict never looks; none for `scale` as it is."""
    prompt_margin: float = Field(0.02, ge=0)
    """Fall of the prompt measure, in cosine similarity, that counts as none, beside what the style costs."""


class Recipe(Table):
    """A whole recipe: one table for each stage."""

    base: BaseTable = BaseTable()
    collect: CollectTable = CollectTable()
    caption: CaptionTable = CaptionTable()
    encode: EncodeTable = EncodeTable()
    lora: LoraTable = LoraTable()
    train: TrainTable = TrainTable()
    generate: GenerateTable = GenerateTable()
    compare: CompareTable = CompareTable()

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        faults = list(_contradictions(self))
        if faults:
            raise ContradictionError(faults)
        return self


def _contradictions(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Keys that each fit, and not together: a stage would fail by them, whatever base and pictures are."""
    lora, train, generate, compare = recipe.lora, recipe.train, recipe.generate, recipe.compare
    if lora.target_modules == "none" and not (lora.text_encoder or lora.embedding_token):
        yield "lora.target_modules", "nothing is trained; name layers, or a word with lora.embedding_token"
    for key in ("use_dora", "use_rslora", "timestep_rank") if lora.method else ():
        if getattr(lora, key):
            yield f"lora.{key}", f"it is a LoRA's, and lora.method is {lora.method}; leave one of them out"
    if lora.method == "oft" and lora.rank_pattern:
        yield "lora.rank_pattern", "OFT has one block size; leave it out"
    if train.base_weights and (lora.use_dora or lora.method):
        why = f"{lora.method or 'DoRA'} reads the base's weights as they are; leave one of them out"
        yield "train.base_weights", why
    first, end = train.timestep_range or (0, 1)
    if not 0 <= first < end:
        yield "train.timestep_range", f"{first} to {end} is no range; give the first and one past the last"
    if train.choose == "style" and not train.validation_share:
        yield "train.choose", "no picture is held out to choose by style; raise train.validation_share"
    if train.choose == "style" and not generate.prompts:
        yield "train.choose", "there is no prompt to choose by style; name some in generate.prompts"
    if compare.scales and not train.validation_share:
        why = "held-out pictures choose the strength; set train.validation_share"
        yield "compare.scales", why
    if compare.scales and lora.embedding_token:
        yield "compare.scales", "a learnt word has no strength; leave it out"
    if not generate.seeds:
        yield "generate.seeds", "there is no seed to draw with"
    held_out = compare.held_out_prompts and train.validation_share
    if not (generate.prompts or compare.general_prompts or held_out):
        yield "generate.prompts", "there is no prompt to draw, here or in the table compare"
