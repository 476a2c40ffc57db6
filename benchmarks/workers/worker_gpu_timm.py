"""timm in bfloat16, as its own scripts run it with --torchcompile.

That is: `torch.compile` for the model, autocast, channels_last, cuDNN's search
for the fastest kernels; AGC and a fused SGD outside what is compiled. For
inference the weights are bfloat16 themselves.
"""

import torch
import worker
from timm_import import adaptive_clip_grad, timm

L2 = 2e-5  # as in keras_nfnets.optimizers.SGD


def steps(model, images, labels, device):
    """Returns functions that start a step, and that wait for all of them."""
    parameters = list(model.parameters())
    compiled = torch.compile(model)
    optimizer = torch.optim.SGD(
        parameters,
        worker.LEARNING_RATE,
        momentum=0.9,
        nesterov=True,
        weight_decay=L2,
        fused=True,
    )

    def start():
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(compiled(images), labels)
        loss.backward()
        # The classifier comes last and is not clipped.
        adaptive_clip_grad(parameters[:-2], clip_factor=0.01)
        optimizer.step()

    def wait():
        if device == "cuda":
            torch.cuda.synchronize()

    return start, wait


def inference(model, images, device):
    """Returns functions that start a forward pass, and that wait for it."""
    compiled = torch.compile(model.to(torch.bfloat16).eval())
    images = images.to(torch.bfloat16)

    def start():
        with torch.inference_mode():
            compiled(images)

    def wait():
        if device == "cuda":
            torch.cuda.synchronize()

    return start, wait


def main():
    job = worker.job()
    torch.backends.cudnn.benchmark = True
    model = timm.create_model(job.model, num_classes=worker.CLASSES)
    model = model.to(job.device, memory_format=torch.channels_last).train()
    images, labels = map(torch.tensor, worker.data(job))
    # Seen as (batch, channels, height, width) this is channels_last already.
    images = images.to(job.device).permute(0, 3, 1, 2)
    if job.task == "infer":
        start, wait = inference(model, images, job.device)
    else:
        start, wait = steps(model, images, labels.to(job.device), job.device)
    on_gpu = job.device == "cuda"
    worker.serve(
        job,
        start,
        parameters=sum(p.numel() for p in model.parameters()),
        versions={"timm": timm.__version__, "torch": torch.__version__},
        wait=wait,
        device=torch.cuda.get_device_name() if on_gpu else "cpu",
    )


if __name__ == "__main__":
    main()
