"""Decoupled user cross-attention: inject it into a UNet, say whose taste to hear and how strongly, eject it."""

from prefgen.adapter.checkpoint import load_adapter, load_ip_adapter_state, save_adapter, to_ip_adapter_state
from prefgen.adapter.facets import facet_of
from prefgen.adapter.sites import Site, cross_attentions, network_of, sites_of
from prefgen.adapter.stock_layout import StockForm, StockLayout, all_weights, layout_of, stock_form, stock_state
from prefgen.adapter.tokens import GROUPS, Group, UserTokens, concatenate_users, with_unconditional
from prefgen.adapter.user_adapter import UserAdapter

__all__ = [
    "GROUPS",
    "Group",
    "Site",
    "StockForm",
    "StockLayout",
    "UserAdapter",
    "UserTokens",
    "all_weights",
    "concatenate_users",
    "cross_attentions",
    "facet_of",
    "layout_of",
    "load_adapter",
    "load_ip_adapter_state",
    "network_of",
    "save_adapter",
    "sites_of",
    "stock_form",
    "stock_state",
    "to_ip_adapter_state",
    "with_unconditional",
]
