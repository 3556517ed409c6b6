#!/usr/bin/env python3
"""Images a second and core of the usual Python pipelines, by CPU time of one process, on the work of
tests/bench/image_bench: every JPEG below FOLDER to a normalised 224 x 224 batch.

  pil      torchvision's ImageFolder (PIL) and DataLoader, its transforms
  cv2      OpenCV's decoder and resize, numpy for the rest, in a DataLoader

usage: torch_images.py FOLDER [SECONDS]    (needs torch, torchvision, opencv-python-headless)
Prints one line a pipeline: NAME IMAGES_PER_SECOND.
"""
import math
import os
import random
import statistics
import sys
import time

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision import transforms

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SIDE = 224


def files(folder):
    return sorted(os.path.join(root, name) for root, _, names in os.walk(folder)
                  for name in names if name.endswith((".jpg", ".jpeg")))


class PilImages(torch.utils.data.Dataset):
    def __init__(self, paths):
        self.paths = paths
        self.transform = transforms.Compose([
            transforms.RandomResizedCrop(SIDE), transforms.RandomHorizontalFlip(),
            transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        with open(self.paths[i], "rb") as f:
            return self.transform(Image.open(f).convert("RGB"))


def random_resized_crop(height, width):
    for _ in range(10):
        area = height * width * random.uniform(0.08, 1)
        aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return random.randint(0, height - h), random.randint(0, width - w), h, w
    return 0, 0, height, width


class Cv2Images(torch.utils.data.Dataset):
    scale = (1 / (255 * np.array(STD))).astype(np.float32)
    shift = (-np.array(MEAN) / np.array(STD)).astype(np.float32)

    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        image = cv2.cvtColor(cv2.imread(self.paths[i]), cv2.COLOR_BGR2RGB)
        top, left, height, width = random_resized_crop(*image.shape[:2])
        image = cv2.resize(image[top:top + height, left:left + width], (SIDE, SIDE),
                           interpolation=cv2.INTER_LINEAR)
        if random.random() < 0.5:
            image = cv2.flip(image, 1)
        return torch.from_numpy(image * self.scale + self.shift)  # channels last


def epoch_rate(loader, images):
    start = time.process_time()
    for _ in loader:
        pass
    return images / (time.process_time() - start)


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    paths = files(sys.argv[1])
    seconds = float(sys.argv[2]) if len(sys.argv) == 3 else 5
    loaders = {name: torch.utils.data.DataLoader(kind(paths), batch_size=32)
               for name, kind in (("pil", PilImages), ("cv2", Cv2Images))}
    rates = {name: [] for name in loaders}
    for loader in loaders.values():
        epoch_rate(loader, len(paths))
    start = time.process_time()
    while time.process_time() - start < seconds or len(rates["pil"]) < 3:
        for name, loader in loaders.items():
            rates[name].append(epoch_rate(loader, len(paths)))
    for name, values in rates.items():
        print(name, round(statistics.median(values)))


if __name__ == "__main__":
    main()
