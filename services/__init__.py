"""AlpaServe: many models on one shared cluster, within their SLOs."""
