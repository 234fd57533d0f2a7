"""The simple rivals of the network. To add a rival: one file in this folder, and one entry of RIVALS."""

from models.evaluation.contract import Rival
from models.evaluation.rivals.ewma_profile import EwmaProfile
from models.evaluation.rivals.kde import Kde
from models.evaluation.rivals.means import Constant, Ewma, Expanding, Historical, LastWeek, SameWeekday
from models.evaluation.rivals.self_exciting import SelfExciting

RIVALS: list[Rival] = [
    Constant(),
    LastWeek(),
    SameWeekday(),
    Historical(),
    Expanding(),
    Ewma(half_life_days=30),
    Ewma(half_life_days=60),
    EwmaProfile(),
    Kde(),
    SelfExciting(),
]
