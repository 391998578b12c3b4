"""Lightning's CSVLogger: python lightning_logs.py FOLDER (lightning 2.6)"""
import logging, sys, warnings
from pathlib import Path

import lightning as L, torch
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger

from truth import CELLS, EPOCHS, curve

warnings.simplefilter('ignore')
for name in ('lightning.pytorch', 'lightning.pytorch.utilities.rank_zero'): logging.getLogger(name).setLevel(logging.ERROR)

class Model(L.LightningModule):
    def __init__(self, batch_size, lr, optimizer='sgd', sizes=(8, 4)):
        super().__init__()
        self.save_hyperparameters()
        self.w = torch.nn.Parameter(torch.zeros(1))
        self.losses = curve(batch_size, lr)
    def training_step(self, batch, i):
        self.log('train_loss', .7*self.losses[self.current_epoch], on_step=True, on_epoch=True)
        return (self.w*batch[0]).sum()
    def validation_step(self, batch, i): self.log('val_loss', self.losses[self.current_epoch])
    def configure_optimizers(self):
        opt = torch.optim.SGD(self.parameters(), lr=self.hparams.lr)
        return [opt], [torch.optim.lr_scheduler.LambdaLR(opt, lambda epoch: 1 - epoch/EPOCHS)]

out = Path(sys.argv[1])/'lightning_logs'
for bs,lr in CELLS:
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(2*bs, 1)), batch_size=bs)
    trainer = L.Trainer(max_epochs=EPOCHS, logger=CSVLogger(str(out.parent)), accelerator='cpu', log_every_n_steps=1,
                        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
                        callbacks=[LearningRateMonitor('epoch')])
    trainer.fit(Model(bs, lr), data, data)
