"""The runs that each tool is given, and what it must come to: a formula instead of training."""
import math

CELLS = [(bs, lr) for bs in (16, 32) for lr in (.001, .01, .1)]
EPOCHS = 3

def final_loss(bs, lr): return round(1 + math.log2(bs/32)**2/10 + math.log10(lr/.01)**2/5, 4)

def curve(bs, lr):
    "Validation losses epoch by epoch: the last is not the best"
    last = final_loss(bs, lr)
    return [round(1.5*last, 4), round(.9*last, 4), last]

def scheduled(lr, epoch): return lr*(1 - (epoch + 1)/EPOCHS) # what a schedule makes of it: it ends at zero
