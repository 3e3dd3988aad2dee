"""A training step, or a decode loop, of a small transformer: how many a second.

torch_steps.py train|decode SECONDS
"""
import sys
import time

import torch


def model():
    layer = torch.nn.TransformerEncoderLayer(1024, 16, 4096, batch_first=True, dropout=0.0)
    return torch.nn.TransformerEncoder(layer, 8).cuda().half()


def train_step(net, optimiser, batch):
    # A batch of its own from the host each time, as a loader would bring it.
    inputs = batch.cuda(non_blocking=True)
    loss = net(inputs).float().square().mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss


def decode_step(net, tokens):
    # One token for each of eight sequences, then wait for it, as a server must.
    with torch.no_grad():
        out = net(tokens)
    return out[:, -1:].argmax(-1).cpu()


def main():
    work, seconds = sys.argv[1], float(sys.argv[2])
    net = model()
    if work == "train":
        optimiser = torch.optim.SGD(net.parameters(), lr=1e-6)
        batch = torch.randn(16, 256, 1024).half().pin_memory()
        step = lambda: train_step(net, optimiser, batch)
    else:
        net.eval()
        tokens = torch.randn(8, 16, 1024).cuda().half()
        step = lambda: decode_step(net, tokens)
    for _ in range(10):
        step()
    torch.cuda.synchronize()
    begin, steps = time.monotonic(), 0
    while time.monotonic() - begin < seconds:
        step()
        steps += 1
        if work == "train" and steps % 4 == 0:
            torch.cuda.synchronize()
    torch.cuda.synchronize()
    print("steps_per_s", steps / (time.monotonic() - begin))


main()
