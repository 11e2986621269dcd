"""What `feature_extraction` is made of: weights of words (`tfidf`), hashed texts (`text`) and images (`images`)."""
