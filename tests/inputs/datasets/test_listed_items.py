"""Labels that a data set keeps beside its items save the reading of the items."""

from nnviz.inputs.datasets.listed_items import labels_of_attribute


class Listed:
    """A thousand items with their labels as an attribute; counts what is read."""

    def __init__(self, change=lambda label: label):
        self.targets = [index % 7 for index in range(1000)]
        self.change, self.n_reads = change, 0

    def __len__(self):
        return 1000

    def __getitem__(self, index):
        self.n_reads += 1
        return None, self.change(self.targets[index])


def test_labels_of_attribute__reads_a_few_items():
    data = Listed()
    assert labels_of_attribute(data, 1000) == data.targets
    assert labels_of_attribute(data, 10) == data.targets[:10]
    assert data.n_reads <= 32


def test_labels_of_attribute__has_none_where_items_have_others():
    assert labels_of_attribute(Listed(lambda label: label + 1), 1000) is None
