"""Hugging Face's Trainer: python hf_trainer.py FOLDER (transformers 5.24, torch)"""
import sys
from pathlib import Path

import torch, transformers
from transformers import Trainer, TrainingArguments

from truth import CELLS, EPOCHS, curve

transformers.logging.set_verbosity_error()

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(1))
        self.config = transformers.PretrainedConfig()
    def forward(self, x, labels=None): return dict(loss=(self.w*x).mean(), logits=x)

class Told(Trainer):
    "Evaluation gives the loss that the formula says"
    def evaluate(self, *args, **kw):
        epoch = round(self.state.epoch) - 1
        loss = curve(self.args.per_device_train_batch_size*self.args.gradient_accumulation_steps, self.args.learning_rate)[epoch]
        metrics = dict(eval_loss=loss, eval_accuracy=1 - loss/5, eval_runtime=.01)
        self.log(metrics)
        return metrics

out = Path(sys.argv[1])/'trainer'
for i,(bs,lr) in enumerate(CELLS):
    data = [dict(x=torch.ones(1), labels=torch.ones(1)) for _ in range(2*bs)]
    args = TrainingArguments(str(out/f'run{i}'), per_device_train_batch_size=bs//4, gradient_accumulation_steps=4, learning_rate=lr,
                             num_train_epochs=EPOCHS, eval_strategy='epoch', save_strategy='no', logging_steps=1, report_to=[],
                             use_cpu=True, disable_tqdm=True, seed=7, data_seed=1)
    trainer = Told(model=Model(), args=args, train_dataset=data, eval_dataset=data)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    trainer.save_state()
    (out/f'run{i}'/'training_args.json').write_text(args.to_json_string())
    trainer.create_model_card(model_name='tiny')
